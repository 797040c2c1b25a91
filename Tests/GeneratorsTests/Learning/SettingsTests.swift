import Testing

@testable import Files
@testable import Learning
@testable import Methods

@Suite struct SettingsTests {
    private static let preset = Settings([
        "steps": 10, "rate": 0.5, "sampler": "ddim", "clip": true,
    ])

    @Test func `single settings are overridden, the others stay`() throws {
        let changed = try Self.preset.overridden(by: #"{"steps": 20, "rate": 1, "clip": false}"#)
        #expect(try changed.integer("steps", 1...100) == 20)
        #expect(try changed.number("rate", 0...1) == 1)
        #expect(try changed.flag("clip") == false)
        #expect(try changed.choice("sampler", ["ddim"]) == "ddim")
    }

    @Test func `a misspelt name is refused, with the names there are`() {
        expectFailure(.invalidArgument, "\"step\"", "steps, rate, sampler, clip") {
            _ = try Self.preset.overridden(by: #"{"step": 20}"#)
        }
    }

    @Test(
        "a value of another kind is refused",
        arguments: [#"{"steps": 2.5}"#, #"{"steps": "20"}"#, #"{"sampler": 1}"#, #"{"clip": 1}"#, #"{"rate": null}"#])
    func kinds(text: String) {
        expectFailure(.invalidArgument, "settings") { _ = try Self.preset.overridden(by: text) }
    }

    @Test("what is not a JSON object is refused", arguments: ["", "[]", "7", "{", #"{"steps": 1, "steps": 2}"#, "{}x"])
    func text(text: String) {
        expectFailure(.invalidArgument, "settings") { _ = try Self.preset.overridden(by: text) }
    }

    @Test func `a value out of range names the setting and the range`() {
        expectFailure(.invalidArgument, "\"steps\"", "1 to 5") { _ = try Self.preset.integer("steps", 1...5) }
        expectFailure(.invalidArgument, "\"rate\"") { _ = try Self.preset.number("rate", 1...2) }
        expectFailure(.invalidArgument, "\"sampler\"", "\"ddpm\"") { _ = try Self.preset.choice("sampler", ["ddpm"]) }
        expectFailure(.invalidArgument, "\"batch\"", "missing") { _ = try Self.preset.integer("batch", 1...5) }
    }

    @Test func `every preset of every method gives a network or says why not`() throws {
        for entry in methods.all {
            for preset in entry.presets {
                let settings = try methods(entry.name).settings(preset: preset.name)
                _ = (try spaces(settings.text("space")), try Normaliser.Kind(settings))
                let size = ProblemSize(values: 6000, conditions: 10, examples: 50)
                let plan = try entry.plan(settings, size)
                #expect(plan.weightCount > 0, "\(entry.name) \(preset.name)")
                #expect(plan.workspace >= 0)
            }
        }
    }

    @Test func `unknown methods and presets are refused, with the names there are`() {
        expectFailure(.invalidArgument, "\"magic\"", "\"cond-pdiff\"", "\"ridge\"") {
            _ = try methods("magic").settings(preset: "default")
        }
        expectFailure(.invalidArgument, "\"huge\"", "\"vision\"") {
            _ = try methods("cond-pdiff").settings(preset: "huge")
        }
    }
}

@Suite struct SHA256Tests {
    private func digest(_ parts: String...) -> String {
        var hasher = SHA256()
        for part in parts { hasher.update(part) }
        return hasher.finish()
    }

    @Test func `digests are those of FIPS 180-4's examples, however the text is cut`() {
        #expect(digest("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        #expect(digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        let long = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"
        let expected = "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        #expect(digest(long) == expected)
        #expect(digest(String(long.prefix(3)), "", String(long.dropFirst(3))) == expected)
        let thousand = String(repeating: "a", count: 1000)
        var hasher = SHA256()
        for _ in 0..<1000 { hasher.update(thousand) }
        #expect(hasher.finish() == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
    }
}
