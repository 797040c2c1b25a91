import Files
import Glibc
import Tensor

/// The files of a model's folder.
struct FolderFiles {
    let folder: String

    init(_ folder: String) {
        var folder = folder
        while folder.count > 1, folder.hasSuffix("/") { folder.removeLast() }
        self.folder = folder
    }

    func path(_ name: String) -> String { folder + "/" + name }

    func has(_ name: String) -> Bool { access(path(name), F_OK) == 0 }

    /// The JSON of a file, `nil` if there is none.
    func json(_ name: String) throws(LoragenError) -> JSON? {
        // JSON's own null is written nil too.
        guard has(name) else { return Optional<JSON>.none }
        return try JSON.read(path: path(name))
    }
}
