import Tensor

/// The files that a call reads, which it must not write over.
///
/// They are known by device and inode, so links and other spellings of a path are the same file.
public struct Sources: Sendable {
    private var files: [FileIdentity: String] = [:]

    public init() {}

    /// Of a folder, the files in it. What is not there is no source.
    public init(_ paths: String?...) { for path in paths { add(path) } }

    public mutating func add(_ path: String?) {
        guard let path, let identity = FileIdentity(path) else { return }
        files[identity] = path
        guard (try? PathKind.of(path)) == .folder, let names = try? entries(of: path) else { return }
        for name in names {
            let file = joinPath(path, name)
            if (try? PathKind.of(file)) == .file, let identity = FileIdentity(file) { files[identity] = file }
        }
    }

    /// Throws `.invalidArgument` when a file that would be written is one of them.
    public func check(writing targets: [String]) throws(LoragenError) {
        for target in targets {
            guard let identity = FileIdentity(target), let source = files[identity] else { continue }
            let same = source == target ? "" : ", the same as '\(source)'"
            throw LoragenError(
                .invalidArgument,
                "\(target): it is what is read\(same), and would be written over; write to another path, and replace it "
                    + "afterwards if that is what you want")
        }
    }
}

/// Whether two paths name one file, which need not exist.
public func isSameFile(_ a: String, _ b: String) -> Bool {
    if let a = FileIdentity(a), let b = FileIdentity(b) { return a == b }
    let ((folderA, nameA), (folderB, nameB)) = (splitPath(a), splitPath(b))
    guard nameA == nameB, let a = FileIdentity(folderA), let b = FileIdentity(folderB) else { return false }
    return a == b
}
