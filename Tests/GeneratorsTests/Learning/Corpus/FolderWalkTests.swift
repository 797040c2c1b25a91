import Foundation
import Testing

@testable import Files
@testable import Learning
@testable import Reports

/// Folders with links, and with names as people and programs leave them.
@Suite("Walk through folders of adapters")
struct FolderWalkTests {
    private func scratch(_ folders: String...) throws -> Scratch {
        let scratch = try Scratch()
        for (i, name) in folders.enumerated() {
            try Synthetic.write(try Synthetic.adapter(Synthetic.bits(i)), to: scratch(name))
        }
        return scratch
    }

    private func link(_ path: String, to target: String) throws {
        try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: target)
    }

    private func names(_ scratch: Scratch) throws -> [String] { try FolderWalk(scratch.path).found.map(\.name) }

    private func remark(_ walk: FolderWalk, _ part: String) throws -> Finding {
        try #require(walk.remarks.first { $0.message.contains(part) }, "\(walk.remarks.map(\.message))")
    }

    @Test("Links to a parent in each of many folders end, and count nothing twice", arguments: [6, 20])
    func parents(count: Int) throws {
        let scratch = try Scratch()
        for i in 0..<count {
            try Synthetic.write(try Synthetic.adapter(Synthetic.bits(i)), to: scratch("r\(i)"))
            try link(scratch("r\(i)/all"), to: "..")
        }
        #expect(try FolderWalk(scratch.path).found.count == count)
        #expect(try Corpus(path: scratch.path).entries.count == count)
        #expect(try Diagnosis(path: scratch.path).adapterCount == count)
    }

    @Test("A folder that a second link leads to counts once, under its own name")
    func twice() throws {
        let scratch = try scratch("b", "deep/c")
        try link(scratch("a"), to: "b")
        try link(scratch("b/inside"), to: "../deep")
        try link(scratch("z"), to: "a")
        let walk = try FolderWalk(scratch.path)
        #expect(walk.found.map(\.name) == ["b", "deep/c"])
        #expect(walk.found.allSatisfy { !$0.isNested })
    }

    @Test("A folder outside counts under the link's name")
    func outside() throws {
        let (scratch, other) = (try scratch("a"), try scratch("b", "c"))
        try link(scratch("linked"), to: other.path)
        try link(scratch("again"), to: other("b"))
        #expect(try names(scratch) == ["a", "again", "linked/c"])
    }

    @Test("Folders of links to one adapter's files, as in a cache, count once")
    func cache() throws {
        let scratch = try scratch("blobs")
        for name in ["snapshots/0", "snapshots/1", "snapshots/2"] {
            try FileManager.default.createDirectory(atPath: scratch(name), withIntermediateDirectories: true)
            for file in ["adapter_config.json", "adapter_model.safetensors"] {
                try link(scratch("\(name)/\(file)"), to: "../../blobs/\(file == "adapter_config.json" ? "c" : "w")")
            }
        }
        try FileManager.default.moveItem(atPath: scratch("blobs/adapter_config.json"), toPath: scratch("blobs/c"))
        try FileManager.default.moveItem(atPath: scratch("blobs/adapter_model.safetensors"), toPath: scratch("blobs/w"))
        // Another config of the same weights is another adapter.
        try FileManager.default.removeItem(atPath: scratch("snapshots/2/adapter_config.json"))
        let config = String(decoding: try contents(scratch("blobs/c")), as: UTF8.self)
        try write(
            config.replacingOccurrences(of: "\"lora_alpha\":3", with: "\"lora_alpha\":6"),
            to: scratch("snapshots/2/adapter_config.json"))
        let walk = try FolderWalk(scratch.path)
        #expect(walk.found.map(\.name) == ["snapshots/0", "snapshots/2"])
        #expect(try remark(walk, "through links").adapters == ["snapshots/1"])
    }

    @Test("A name that is not UTF-8 is named, in every place that counts adapters")
    func notUTF8() throws {
        let scratch = try scratch("a", "b", "x")
        let name = scratch("").utf8CString.dropLast() + [99, 97, 102, CChar(bitPattern: 0xe9), 0]
        try #require(rename(scratch("x"), Array(name)) == 0)
        let shown = "caf\\xe9"
        #expect(try names(scratch) == ["a", "b"])
        #expect(try remark(FolderWalk(scratch.path), "not UTF-8").adapters == [shown])
        #expect(try Corpus(path: scratch.path).remarks.contains { $0.adapters == [shown] })
        let diagnosis = try Diagnosis(path: scratch.path)
        #expect(diagnosis.adapterCount == 2)
        #expect(
            diagnosis.findings.contains { $0.code == "left-out" && $0.severity == .warning && $0.adapters == [shown] })
        // What is below such a folder is named too.
        try #require(rename(Array(name), scratch("x")) == 0)
        try FileManager.default.createDirectory(atPath: scratch("d"), withIntermediateDirectories: true)
        try FileManager.default.moveItem(atPath: scratch("x"), toPath: scratch("d/x"))
        try #require(rename(scratch("d"), Array(name)) == 0)
        #expect(try remark(FolderWalk(scratch.path), "not UTF-8").adapters == [shown + "/x"])
        // A manifest does not hide it.
        try write(try Synthetic.manifest([["path": "a"], ["path": "b"]]), to: scratch("corpus.jsonl"))
        #expect(try Corpus(path: scratch.path).remarks.contains { $0.adapters == [shown + "/x"] })
    }

    @Test("Names with spaces, brackets, line breaks, emoji, dashes, and of 200 letters are names")
    func odd() throws {
        let odd = [
            "my adapter (v2)", "a[1]*?", "line\nbreak", "\u{1f600}", "-dash", String(repeating: "x", count: 200),
        ]
        let scratch = try Scratch()
        for (i, name) in odd.enumerated() {
            try Synthetic.write(try Synthetic.adapter(Synthetic.bits(i)), to: scratch(name))
        }
        #expect(try Set(names(scratch)) == Set(odd))
        #expect(try Set(Corpus(path: scratch.path).entries.map(\.task)) == Set(odd))
    }

    @Test("Dangling links, links to themselves and weights without a config are named")
    func leftOut() throws {
        let scratch = try scratch("a", "b")
        try link(scratch("gone"), to: "nowhere")
        try link(scratch("self"), to: "self")
        try FileManager.default.removeItem(atPath: scratch("b/adapter_config.json"))
        let walk = try FolderWalk(scratch.path)
        #expect(walk.found.map(\.name) == ["a"])
        let dangling = try remark(walk, "leads to nothing").message
        #expect(dangling.contains("gone (No such file") && dangling.contains("self (Too many"))
        #expect(try remark(walk, "without an adapter_config.json").message.contains("b (adapter_model.safetensors)"))
    }

    @Test("Checkpoints inside an adapter's folder are nested; those of a folder that is none are not")
    func nested() throws {
        let scratch = try scratch("run", "run/checkpoint-1", "plain/checkpoint-1", "run/deep/er/checkpoint-2")
        let walk = try FolderWalk(scratch.path)
        #expect(
            walk.found.map { "\($0.name) \($0.isNested)" }
                == [
                    "plain/checkpoint-1 false", "run true", "run/checkpoint-1 true", "run/deep/er/checkpoint-2 true",
                ].map { $0 == "run true" ? "run false" : $0 })
        let corpus = try Corpus(path: scratch.path)
        #expect(corpus.entries.map(\.path) == ["plain/checkpoint-1", "run"])
        #expect(corpus.remarks.first { $0.code == "nested" }?.adapters.count == 2)
        // A run that is given itself is a corpus of its checkpoints.
        #expect(try Corpus(path: scratch("run")).entries.map(\.path) == ["checkpoint-1", "deep/er/checkpoint-2"])
        expectFailure(.format, "this is one adapter") { _ = try Corpus(path: scratch("plain/checkpoint-1")) }
    }

    @Test("The limits on depth and count end a walk, and say so")
    func limits() throws {
        let scratch = try scratch("a", "b", "c/d/e")
        let shallow = try FolderWalk(scratch.path, limits: .init(depth: 2))
        #expect(shallow.found.map(\.name) == ["a", "b"])
        #expect(try remark(shallow, "not looked at").adapters == ["c/d/e"])
        #expect(try FolderWalk(scratch.path, limits: .init(adapters: 1)).found.count == 1)
        #expect(try !FolderWalk(scratch.path, limits: .init(folders: 2)).remarks.isEmpty)
    }
}
