import Synchronization

/// The library's remarks. They go to the host's handler, or nowhere: nothing is ever printed.
public enum Log {
    public typealias Handler = @Sendable (_ level: Int32, _ message: String) -> Void

    private static let handler = Mutex<Handler?>(nil)

    public static func set(_ new: Handler?) { handler.withLock { $0 = new } }

    public static func debug(_ message: @autoclosure () -> String) { send(0, message) }
    public static func info(_ message: @autoclosure () -> String) { send(1, message) }
    public static func warning(_ message: @autoclosure () -> String) { send(2, message) }

    /// The handler runs outside the lock, so that it may take its time; the message is made only if somebody listens.
    private static func send(_ level: Int32, _ message: () -> String) {
        guard let current = handler.withLock({ $0 }) else { return }
        current(level, message())
    }
}
