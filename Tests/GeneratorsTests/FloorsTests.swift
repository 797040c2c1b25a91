import Foundation
import Testing

/// The floors of docs/architecture.md: a module imports only modules that stand before it.
@Suite struct FloorsTests {
    static let floors = [
        ["COpenBLAS", "CKernels", "CPCRE2", "CYAML", "Cutf8proc", "CImages", "COnnxABI"], ["Tensor"], ["NN"], ["Files"],
        ["Adapters"],
        ["Formats"],
        ["Hosts"],
        ["Encoders"], ["Conditions"], ["Learning"], ["Methods"], ["Reports"], ["Generators"],
        ["CLoragen", "CAPISupport"], ["CAPI"], ["loragen", "loragen-cli"],
    ]
    static let system = ["Glibc", "Synchronization", "ArgumentParser"]

    @Test func `no import runs upwards`() throws {
        let sources = repository.appendingPathComponent("Sources")
        let floor = Dictionary(
            uniqueKeysWithValues: Self.floors.enumerated().flatMap { place, names in names.map { ($0, place) } })
        var count = 0
        let files = try #require(FileManager.default.enumerator(atPath: sources.path))
        for case let name as String in files where name.hasSuffix(".swift") {
            let module = String(name.prefix { $0 != "/" })
            let own = try #require(
                floor[module], "\(module) has no floor; give it one here and in docs/architecture.md")
            let text = try String(contentsOf: sources.appendingPathComponent(name), encoding: .utf8)
            for line in text.split(separator: "\n") where line.contains("import ") && !line.contains("//") {
                let words = line.split(separator: " ")
                guard let at = words.firstIndex(of: "import"), at < 2, let imported = words.last.map(String.init),
                    !Self.system.contains(imported)
                else { continue }
                let other = try #require(floor[imported], "\(name) imports \(imported), which has no floor")
                #expect(other < own, "\(name) imports \(imported), which stands above or beside \(module)")
                count += 1
            }
        }
        #expect(count > 200)
    }

    /// The command line is a client of the header; of the modules it knows names of formats and JSON alone.
    @Test func `the command line sees nothing above the formats`() throws {
        let folder = repository.appendingPathComponent("Sources/loragen-cli")
        let allowed: Set = ["CLoragen", "CAPI", "Files", "Formats", "Tensor"]
        for name in try FileManager.default.contentsOfDirectory(atPath: folder.path) {
            let text = try String(contentsOf: folder.appendingPathComponent(name), encoding: .utf8)
            for line in text.split(separator: "\n") where line.hasPrefix("import ") {
                let imported = String(line.dropFirst("import ".count))
                #expect(allowed.contains(imported) || Self.system.contains(imported), "\(name) imports \(imported)")
            }
        }
    }
}
