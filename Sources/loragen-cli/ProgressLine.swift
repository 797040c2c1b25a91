import CLoragen
import Files
import Glibc

/// Shows the progress of a long call on stderr: one line that is rewritten on a terminal, else a line every five
/// seconds. While there is one, Ctrl-C cancels the call.
final class ProgressLine {
    private let isTerminal = isatty(STDERR_FILENO) == 1
    private let plainInterval = 5.0
    private var lastPlain = -Double.infinity
    private var isShown = false

    init() { Interruption.isAskedFor.store(true, ordering: .relaxed) }

    /// What to hand to the library with `payload`.
    static let callback: loragen_progress_callback = { progress, payload in
        if let progress, let payload {
            Unmanaged<ProgressLine>.fromOpaque(payload).takeUnretainedValue().show(progress.pointee)
        }
        return Interruption.happened ? 1 : 0
    }

    var payload: UnsafeMutableRawPointer { Unmanaged.passUnretained(self).toOpaque() }

    /// Ends the line and gives Ctrl-C back its usual meaning.
    func finish() {
        if isShown && isTerminal { printError("\r\u{1b}[K", terminator: "") }
        Interruption.isAskedFor.store(false, ordering: .relaxed)
    }

    private func show(_ progress: loragen_progress) {
        if isTerminal {
            printError("\r\u{1b}[K" + Self.line(progress, width: Self.terminalWidth), terminator: "")
        } else {
            let now = Self.seconds
            if now - lastPlain < plainInterval { return }
            lastPlain = now
            printError(Self.line(progress))
        }
        isShown = true
    }

    /// "diffusion 1200/4000  loss 0.0123  skill 0.412 (best 0.431)  85 steps/s  33 s left". What does not fit into `width`
    /// is left out, the least telling first.
    static func line(_ progress: loragen_progress, width: Int = .max) -> String {
        // In the order of the line, with what is left out first the highest.
        var parts: [(text: String, rank: Int)] = [("\(string(progress.stage)) \(progress.step)/\(progress.steps)", 0)]
        if progress.loss.isFinite { parts.append(("loss \(significant(progress.loss))", 3)) }
        if progress.validation_skill.isFinite {
            parts.append(("skill \(fixed(progress.validation_skill, 3))", 2))
            if progress.best_skill.isFinite { parts.append(("(best \(fixed(progress.best_skill, 3)))", 4)) }
        }
        if progress.steps_per_second.isFinite {
            parts.append(("\(significant(progress.steps_per_second, 3)) steps/s", 5))
        }
        if progress.seconds_left.isFinite { parts.append(("\(duration(progress.seconds_left)) left", 1)) }
        func joined() -> String { parts.map(\.text).joined(separator: "  ").replacing("  (", with: " (") }
        while parts.count > 1, joined().count > width, let last = parts.max(by: { $0.rank < $1.rank }) {
            parts.removeAll { $0.rank == last.rank }
        }
        return String(joined().prefix(width))
    }

    /// Columns of the terminal, less the last, in which some terminals begin a new line.
    static var terminalWidth: Int {
        var size = winsize()
        guard ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 1 else { return 79 }
        return Int(size.ws_col) - 1
    }

    private static var seconds: Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }
}
