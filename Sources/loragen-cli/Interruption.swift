import CLoragen
import Files
import Glibc
import Synchronization

/// Ctrl-C and its like. The library installs no signal handlers; this program waits for its signals in a thread of its own,
/// where anything may be called.
enum Interruption {
    /// Set while a long call asks, by its progress callback, whether to go on.
    static let isAskedFor = Atomic(false)
    private static let number = Atomic<Int32>(0)

    static var happened: Bool { number.load(ordering: .relaxed) != 0 }
    /// As a shell says that a signal ended a program.
    static var exitCode: Int32 { 128 + number.load(ordering: .relaxed) }

    /// The first signal cancels a call that asks. Otherwise, and the second time, what is being written is removed and the
    /// program ends. To be called before there are other threads, which inherit what is blocked.
    static func start() {
        var blocked = caught()
        pthread_sigmask(SIG_BLOCK, &blocked, nil)
        var thread = pthread_t()
        pthread_create(
            &thread, nil,
            { _ in
                Interruption.wait()
                return nil
            }, nil)
    }

    private static func wait() {
        var signals = caught()
        var signal: Int32 = 0
        var goesOn: Bool
        repeat {
            let isNone = sigwait(&signals, &signal) != 0
            goesOn = isNone || number.exchange(signal, ordering: .relaxed) == 0 && isAskedFor.load(ordering: .relaxed)
        } while goesOn
        UnfinishedFiles.remove { [signal] in _exit(128 + signal) }
    }

    /// SIGINT, SIGTERM and SIGHUP, but those that are ignored here, as in a job that a shell put behind.
    private static func caught() -> sigset_t {
        var signals = sigset_t()
        sigemptyset(&signals)
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            var action = sigaction()
            sigaction(signal, nil, &action)
            if unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self) != 1 { sigaddset(&signals, signal) }
        }
        return signals
    }
}
