import Adapters
import Files
import Formats
import Tensor

/// What a folder of adapters of any origin has: the adapters that can be read with what lies beside them, and the others.
struct ImportFolder {
    private(set) var adapters: [ImportedAdapter] = []
    /// Paths that are not taken, and why.
    private(set) var left: [(path: String, why: String)] = []

    let path: String
    private let root: String?
    private var layouts: [Layout] = []
    /// The names in a folder, by their lower case.
    private var listings: [String: [String: String]] = [:]

    /// Throws `.io` for a folder that cannot be listed, and `.memory`.
    init(_ walk: FolderWalk) throws(LoragenError) {
        path = walk.path
        root = resolved(walk.path)
        let found = walk.found.map { found in (found, Self.name(found)) }
        // Folders that are one run's: what lies in them is said of that run.
        var runs: [String: Set<String>] = [:]
        for (found, name) in found where !found.isFolder {
            runs[Self.folder(of: name.path), default: []].insert(name.run)
        }
        for (found, name) in found {
            if let why = obstacle(found.name) {
                left.append((found.name, why))
                continue
            }
            let full = "\(path)/\(found.name)"
            do throws(LoragenError) {
                var adapter = ImportedAdapter(name, shared(try Adapter.reader(path: full, note: { _ in }).layout))
                if found.isFolder {
                    for folder in folders(of: name, from: name.path) { try addFiles(of: folder, to: &adapter) }
                } else {
                    try addNamesakes(to: &adapter, suffix: Self.suffix(name.path))
                    let own = Self.folder(of: name.path)
                    for folder in folders(of: name, from: own) where folder != own || runs[own]?.count == 1 {
                        try addFiles(of: folder, to: &adapter)
                    }
                }
                if full.hasSuffix(".safetensors") {
                    try adapter.add(metadata: SafetensorsFile(path: full).metadata)
                }
                adapters.append(adapter)
            } catch {
                if error.code == .memory { throw error }
                let kind = found.isFolder ? nil : try OtherFile.kind(of: full)
                let own = "\(full): "
                let reason = error.message.hasPrefix(own) ? String(error.message.dropFirst(own.count)) : error.message
                left.append((found.name, kind.map { "no adapter but \($0)" } ?? reason))
            }
        }
    }

    /// The same modules in the memory of those that were seen before: there may be thousands.
    private mutating func shared(_ layout: Layout) -> Layout {
        if let same = layouts.first(where: { $0.difference(from: layout) == nil }) {
            return same.with(baseModel: layout.baseModel, taskType: layout.taskType)
        }
        layouts.append(layout)
        return layout
    }

    private static func name(_ found: FolderWalk.Found) -> AdapterName {
        AdapterName(found.name, suffix: found.isFolder ? "" : suffix(found.name))
    }

    private static func suffix(_ path: String) -> String { AdapterFormat.suffixes.first(where: path.hasSuffix) ?? "" }

    /// "" for the corpus itself.
    private static func folder(of path: String) -> String {
        path.utf8.contains(UInt8(ascii: "/")) ? splitPath(path).folder : ""
    }

    /// Why no manifest may list it.
    private func obstacle(_ name: String) -> String? {
        if name == "." { return "the folder itself is an adapter; import the folder above it" }
        if isInside(name) { return nil }
        return "a link leads out of the folder; put the adapter itself there"
    }

    private func isInside(_ name: String) -> Bool {
        guard let root, let real = resolved("\(path)/\(name)") else { return false }
        return real.hasPrefix(root == "/" ? root : root + "/")
    }

    /// The adapter's folder and those above it, up to its run's.
    private func folders(of name: AdapterName, from folder: String) -> [String] {
        var folders = [folder]
        while let last = folders.last, last.hasPrefix(name.run + "/") { folders.append(Self.folder(of: last)) }
        return folders
    }

    private mutating func names(in folder: String) -> [String: String] {
        if let known = listings[folder] { return known }
        let names = (try? fileNames(in: folder.isEmpty ? path : "\(path)/\(folder)")) ?? []
        let listing = Dictionary(names.map { ($0.lowercased(), $0) }) { first, _ in first }
        listings[folder] = listing
        return listing
    }

    /// README.md and the like.
    private mutating func addFiles(
        of folder: String, to adapter: inout ImportedAdapter
    ) throws(LoragenError) {
        let names = names(in: folder)
        for sidecar in Sidecar.ofFolder {
            guard let name = names[sidecar.name.lowercased()] else { continue }
            try add(sidecar, name, in: folder, to: &adapter)
        }
    }

    /// What has the adapter's name, or that of its run, and another suffix.
    private mutating func addNamesakes(
        to adapter: inout ImportedAdapter, suffix: String
    ) throws(LoragenError) {
        let folder = Self.folder(of: adapter.path)
        let names = names(in: folder)
        let own = splitPath(String(adapter.path.dropLast(suffix.count))).name
        let run = splitPath(adapter.name.run).name
        for stem in own == run ? [own] : [own, run] {
            for sidecar in Sidecar.ofAdapter {
                guard let name = names[(stem + sidecar.name).lowercased()] else { continue }
                try add(sidecar, name, in: folder, to: &adapter)
            }
            for ending in Sidecar.pictures {
                guard let name = names[(stem + ending).lowercased()] else { continue }
                let picture = folder.isEmpty ? name : "\(folder)/\(name)"
                if isInside(picture) { adapter.addImage(picture, "*\(ending)") }
            }
        }
    }

    private func add(
        _ sidecar: Sidecar, _ name: String, in folder: String, to adapter: inout ImportedAdapter
    ) throws(LoragenError) {
        let file = folder.isEmpty ? name : "\(folder)/\(name)"
        do throws(LoragenError) {
            adapter.add(sidecar, try sidecar.read("\(path)/\(file)"), in: folder, isPicture)
        } catch {
            if error.code == .memory { throw error }
            adapter.addRemark("not read: \(error.message)")
        }
    }

    /// Whether a path that a file gives is a picture of this folder.
    private func isPicture(_ name: String) -> Bool {
        !name.hasPrefix("/") && !name.split(separator: "/").contains("..") && !hasNUL(name)
            && Sidecar.suffixes.contains(where: name.lowercased().hasSuffix)
            && (try? PathKind.of("\(path)/\(name)")) == .file && isInside(name)
    }
}
