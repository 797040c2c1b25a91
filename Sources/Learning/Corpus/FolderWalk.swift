import Files
import Formats
import Glibc
import Tensor

/// What lies below a folder of adapters: the one walk of corpora, of the doctor and of drafts of manifests.
///
/// A folder or file is one thing, however many links lead to it (device and inode): links up, loops and second links end.
/// Folders are walked before links, so that a thing inside keeps its own name. Hidden names are passed over.
struct FolderWalk {
    /// An adapter, by what its folder or its suffix says; nothing is read.
    struct Found: Equatable {
        /// Relative to the root; "." is the root itself.
        let name: String
        let isFolder: Bool
        /// Inside of another adapter's folder, as a trainer's checkpoints are.
        let isNested: Bool
    }

    /// No folder of adapters is as large; a walk from "/" ends.
    struct Limits {
        var depth = 32
        var folders = 200_000
        var adapters = 100_000
    }

    private(set) var found: [Found] = []
    /// Names of the root's own files.
    private(set) var rootFiles: [String] = []
    /// Folders below the root that have a manifest.
    private(set) var manifests: [String] = []
    /// What was left out, and why.
    var remarks: [Finding] { left.findings(path) }

    let path: String
    private let limits: Limits
    private var seen: Set<FileIdentity> = []
    private var adapters: Set<[FileIdentity]> = []
    private var left = LeftOut()
    private var folderCount = 0
    private var folders: [Place] = []
    private var links: [Place] = []

    /// A folder or link that is yet to be looked at. Names are bytes: they need not be UTF-8.
    private struct Place {
        var path: [CChar]
        var name: [CChar]
        var depth: Int
        var isNested: Bool
        var isInAdapter = false

        func child(_ child: [CChar], isNested: Bool, isInAdapter: Bool) -> Place {
            Place(
                path: path + [47] + child, name: name.isEmpty ? child : name + [47] + child, depth: depth + 1,
                isNested: isNested, isInAdapter: isInAdapter)
        }
    }

    /// Throws `.io` when the root cannot be listed.
    init(_ path: String, limits: Limits = Limits()) throws(LoragenError) {
        self.path = path
        self.limits = limits
        folders = [Place(path: Array(path.utf8CString.dropLast()), name: [], depth: 0, isNested: false)]
        var next = 0
        while true {
            while let place = folders.popLast() { try list(place) }
            guard next < links.count else { break }
            follow(links[next])
            next += 1
        }
        found.sort { precedes($0.name, $1.name) }
        rootFiles.sort(by: precedes)
        manifests.sort(by: precedes)
    }

    private mutating func list(_ place: Place) throws(LoragenError) {
        if place.depth > limits.depth || folderCount >= limits.folders || found.count >= limits.adapters {
            left.tooFar.append(shown(place.name))
            return
        }
        guard let directory = opendir(place.path + [0]) else {
            let reason = String(cString: strerror(errno))
            if place.depth == 0 { throw LoragenError(.io, "\(path): cannot list it: \(reason)") }
            left.unlisted.append("\(shown(place.name)) (\(reason))")
            return
        }
        defer { closedir(directory) }
        guard let identity = FileIdentity(descriptor: dirfd(directory)), seen.insert(identity).inserted else { return }
        folderCount += 1
        var names: [[CChar]] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) {
                    Array(UnsafeBufferPointer(start: $0, count: strnlen($0, 256)))
                }
            }
            if name.first != CChar(bitPattern: UInt8(ascii: ".")) { names.append(name) }
        }
        names.sort { $0.lexicographicallyPrecedes($1) { UInt8(bitPattern: $0) < UInt8(bitPattern: $1) } }
        let isAdapter = addFolder(place, names)
        // The root may be an adapter itself, with its checkpoints; they are a corpus of one run.
        let isNested = place.isNested || isAdapter && place.depth > 0
        let first = folders.count
        for name in names { look(place.child(name, isNested: isNested, isInAdapter: isAdapter)) }
        // They are taken from the end.
        folders[first...].reverse()
    }

    /// Whether a folder is an adapter's; it is added unless it is one that was found before.
    private mutating func addFolder(_ place: Place, _ names: [[CChar]]) -> Bool {
        func identity(_ file: String) -> FileIdentity? { FileIdentity(place.path + [47] + file.utf8CString) }
        let weights = ["adapter_model.safetensors", "adapter_model.bin"]
        guard let config = identity("adapter_config.json") else {
            if let file = weights.first(where: { identity($0) != nil }) {
                left.withoutConfig.append("\(place.name.isEmpty ? "." : shown(place.name)) (\(file))")
            }
            return false
        }
        // Folders of links to the same files, as a cache's snapshots are, hold the same adapter.
        if let values = weights.lazy.compactMap(identity).first, !adapters.insert([config, values]).inserted {
            left.linked.append(shown(place.name))
            return true
        }
        add(place, isFolder: true)
        return true
    }

    private mutating func add(_ place: Place, isFolder: Bool) {
        guard let name = text(place.name) else {
            left.notUTF8.append(shown(place.name))
            return
        }
        found.append(Found(name: name.isEmpty ? "." : name, isFolder: isFolder, isNested: place.isNested))
    }

    /// Sorts one name of a folder.
    private mutating func look(_ place: Place) {
        var info = stat()
        guard lstat(place.path + [0], &info) == 0 else { return }
        switch info.st_mode & S_IFMT {
        case S_IFDIR: folders.append(place)
        case S_IFLNK: links.append(place)
        case S_IFREG: addFile(place, info)
        default: break
        }
    }

    private mutating func follow(_ place: Place) {
        var info = stat()
        guard stat(place.path + [0], &info) == 0 else {
            left.dangling.append("\(shown(place.name)) (\(String(cString: strerror(errno))))")
            return
        }
        switch info.st_mode & S_IFMT {
        case S_IFDIR: folders.append(place)
        case S_IFREG: addFile(place, info)
        default: break
        }
    }

    private mutating func addFile(_ place: Place, _ info: stat) {
        let name = shown(place.name)
        let last = name.split(separator: "/").last.map(String.init) ?? name
        if place.depth == 1 { rootFiles.append(last) }
        if last == Corpus.manifestName, place.depth > 1 {
            manifests.append(String(name.dropLast(last.utf8.count + 1)))
        }
        let suffixes = AdapterFormat.suffixes
        guard !place.isInAdapter, last != "adapter_model.safetensors", suffixes.contains(where: last.hasSuffix),
            found.count < limits.adapters, seen.insert(FileIdentity(info)).inserted
        else { return }
        add(place, isFolder: false)
    }

    private func text(_ name: [CChar]) -> String? {
        String(validating: name.lazy.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// A name for messages: bytes that are not UTF-8 as "\xe9".
    private func shown(_ name: [CChar]) -> String {
        if let text = text(name) { return text }
        var (shown, rest) = ("", name[...].map { UInt8(bitPattern: $0) }[...])
        while let first = rest.first {
            let length = (1...4).first { String(validating: rest.prefix($0), as: UTF8.self) != nil }
            if let length, let text = String(validating: rest.prefix(length), as: UTF8.self) {
                shown += text
            } else {
                shown += "\\x" + (first < 16 ? "0" : "") + String(first, radix: 16)
            }
            rest = rest.dropFirst(length ?? 1)
        }
        return shown
    }
}

/// Which file it is, whatever its name.
struct FileIdentity: Hashable {
    private let device: UInt64
    private let inode: UInt64

    init(_ info: stat) { (device, inode) = (UInt64(info.st_dev), UInt64(info.st_ino)) }

    /// Links followed; nil when there is nothing. `path` ends with a zero.
    init?(_ path: [CChar]) {
        var info = stat()
        guard stat(path, &info) == 0 else { return nil }
        self.init(info)
    }

    init?(descriptor: Int32) {
        var info = stat()
        guard fstat(descriptor, &info) == 0 else { return nil }
        self.init(info)
    }
}

/// Names that a walk did not count, by the reason.
private struct LeftOut {
    var notUTF8: [String] = []
    var unlisted: [String] = []
    var dangling: [String] = []
    var withoutConfig: [String] = []
    var linked: [String] = []
    var tooFar: [String] = []

    func findings(_ path: String) -> [Finding] {
        func finding(
            _ severity: Finding.Severity, _ code: String, _ names: [String], _ what: String, _ advice: String
        ) -> Finding? {
            names.isEmpty ? nil : Finding(severity, code, "\(path): \(what): \(listed(names))", advice, names)
        }
        return [
            finding(
                .warning, "left-out", notUTF8,
                "\(counted(notUTF8.count, "adapter")) left out, for the name is not UTF-8",
                "Rename the folder or file; the bytes that are wrong are shown as \\x and two digits."),
            finding(
                .warning, "left-out", unlisted, "left out, for it cannot be listed", "See who may read the folder."),
            finding(
                .warning, "left-out", dangling, "a link that leads to nothing", "Remove the link, or mend its target."),
            finding(
                .warning, "left-out", withoutConfig, "weights without an adapter_config.json, left out",
                "Put the config beside them; without it their rank, alpha and modules are not known."),
            finding(
                .note, "linked-twice", linked, "an adapter that was found before, through links to the same files",
                "Nothing: it is counted once."),
            finding(
                .warning, "left-out", tooFar, "too deep or too many, not looked at",
                "Give a folder that is nearer to the adapters."),
        ].compactMap { $0 }
    }
}
