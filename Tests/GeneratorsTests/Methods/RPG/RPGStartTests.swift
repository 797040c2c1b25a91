import Testing

@testable import Files
@testable import Generators
@testable import Learning
@testable import Methods

@Suite struct RPGStartTests {
    private static func validationSkill(_ generator: Generator) throws -> Double {
        let report = try JSON.parse(generator.report, source: "")
        return try #require(report["validation"]?["skill"]?["generator"]?.double)
    }

    @Test func `what is drawn around kernel ridge is no worse than it on the validation tasks`() throws {
        let rpg = try Generator(path: Trained.path("rpg", settings: tinyRPG))
        let alone = try Generator(path: Trained.path("kernel-ridge"))
        #expect(try Self.validationSkill(rpg) > Self.validationSkill(alone) - 1e-4)
    }

    @Test func `guidance 0 ignores the condition, the start's too`() throws {
        let rpg = try Generator(path: Trained.path("rpg", settings: tinyRPG))
        func draw(_ bits: String, _ guidance: Float) throws -> [Float] {
            try rpg.generate(request(bits: bits) { ($0.seed, $0.guidance) = (3, guidance) })[0].copyValues()
        }
        #expect(try draw("10110", 0) == draw("01001", 0))
        #expect(try draw("10110", 1) != draw("01001", 1))
    }

    @Test func `without a condition, or with more numbers than are worth keeping, there is no start`() throws {
        let settings = try methods("rpg").settings(preset: "default")
        func count(_ size: ProblemSize) throws -> Int {
            try RPG.entry.plan(settings, size).weightCount
                - RPGSettings(settings, size).configuration.parameterCount
        }
        #expect(try count(ProblemSize(values: 300, conditions: 5, examples: 8)) == 8 * 305)
        #expect(try count(ProblemSize(values: 300, conditions: 0, examples: 8)) == 0)
        #expect(try count(ProblemSize(values: 1 << 20, conditions: 5, examples: 65)) == 0)
    }
}
