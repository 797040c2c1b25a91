import CLoragen
import Glibc

/// Set by Ctrl-C, seen by the next progress callback. A second Ctrl-C kills as usual.
nonisolated(unsafe) private var isInterrupted: sig_atomic_t = 0

/// Shows the progress of a long call on stderr: one line that is rewritten on a terminal, else a line every five
/// seconds.
final class ProgressLine {
    private let isTerminal = isatty(STDERR_FILENO) == 1
    private let plainInterval = 5.0
    private var lastPlain = -Double.infinity
    private var isShown = false

    /// Whether Ctrl-C was pressed.
    static var wasInterrupted: Bool { isInterrupted != 0 }

    init() {
        isInterrupted = 0
        signal(SIGINT) { _ in
            isInterrupted = 1
            signal(SIGINT, SIG_DFL)
        }
    }

    /// What to hand to the library with `payload`.
    static let callback: loragen_progress_callback = { progress, payload in
        if let progress, let payload {
            Unmanaged<ProgressLine>.fromOpaque(payload).takeUnretainedValue().show(progress.pointee)
        }
        return isInterrupted == 0 ? 0 : 1
    }

    var payload: UnsafeMutableRawPointer { Unmanaged.passUnretained(self).toOpaque() }

    /// Ends the line and gives Ctrl-C back its usual meaning.
    func finish() {
        if isShown && isTerminal { printError("\r\u{1b}[K", terminator: "") }
        signal(SIGINT, SIG_DFL)
    }

    private func show(_ progress: loragen_progress) {
        let line = Self.line(progress)
        if isTerminal {
            printError("\r\u{1b}[K" + line, terminator: "")
        } else {
            let now = Self.seconds
            if now - lastPlain < plainInterval { return }
            lastPlain = now
            printError(line)
        }
        isShown = true
    }

    /// "diffusion 1200/4000  loss 0.0123  skill 0.412 (best 0.431)  85 steps/s  33 s left"
    static func line(_ progress: loragen_progress) -> String {
        var parts = ["\(string(progress.stage)) \(progress.step)/\(progress.steps)"]
        if progress.loss.isFinite { parts.append("loss \(significant(progress.loss))") }
        if progress.validation_skill.isFinite {
            let best = progress.best_skill.isFinite ? " (best \(fixed(progress.best_skill, 3)))" : ""
            parts.append("skill \(fixed(progress.validation_skill, 3))\(best)")
        }
        if progress.steps_per_second.isFinite { parts.append("\(significant(progress.steps_per_second, 3)) steps/s") }
        if progress.seconds_left.isFinite { parts.append("\(duration(progress.seconds_left)) left") }
        return parts.joined(separator: "  ")
    }

    private static var seconds: Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }
}
