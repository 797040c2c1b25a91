import Synchronization
import Tensor

/// What can be named, such as methods and formats: those of the library, and those that a Swift program adds.
public final class Registry<Entry: Sendable>: Sendable {
    private let what: String
    private let name: @Sendable (Entry) -> String
    private let entries: Mutex<[Entry]>

    /// - Parameter what: the noun of messages: "there is no `what` \"x\"; there are ...".
    public init(_ what: String, _ entries: [Entry], name: @escaping @Sendable (Entry) -> String) {
        (self.what, self.name) = (what, name)
        self.entries = Mutex(entries)
    }

    /// All, the library's first.
    public var all: [Entry] { entries.withLock { $0 } }
    public var names: [String] { all.map(name) }

    /// Makes an entry known to the whole process, in the place of one with its name.
    public func add(_ entry: Entry) {
        entries.withLock { entries in
            entries.removeAll { name($0) == name(entry) }
            entries.append(entry)
        }
    }

    public func find(_ wanted: String) -> Entry? { all.first { name($0) == wanted } }

    /// Throws `.invalidArgument`, and says which there are.
    public func callAsFunction(_ wanted: String) throws(LoragenError) -> Entry {
        if let entry = find(wanted) { return entry }
        let list = names.map { "\"\($0)\"" }.joined(separator: ", ")
        throw LoragenError(.invalidArgument, "there is no \(what) \"\(wanted)\"; there are \(list)")
    }
}
