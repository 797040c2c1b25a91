import Foundation
import Testing

@testable import Files
@testable import Generators
@testable import Learning

/// The committed corpus of real adapters, from end to end, with a short training.
@Suite(.serialized) struct DigitsTests {
    @Test func `a few hundred steps reach a skill of 0.7 on test tasks, and the file opens in milliseconds`() throws {
        let scratch = try Scratch()
        let corpus = try Corpus(path: digits)
        #expect(corpus.indices(of: .train).count == 512)
        var options = TrainingOptions()
        options.settings = #"{"steps": 300, "width": 256, "validationInterval": 150}"#
        try trainGenerator(corpus: corpus, path: scratch("g"), options: options)
        let began = ContinuousClock.now
        let generator = try Generator(path: scratch("g"))
        let opening = ContinuousClock.now - began
        #expect(opening < .milliseconds(500), "\(opening)")
        let report = try JSON.parse(generator.report, source: "report")
        let skill = try #require(report["test"]?["skill"]?["generator"]?.double)
        #expect(skill > 0.7, "\(generator.report)")
        #expect(try #require(report["test"]?["steeringMargin"]?.double) > 0.5)
        let adapter = try generator.generate(request(bits: "0001100101"))[0]
        #expect(adapter.layout.valueCount == corpus.layout.valueCount)
        print("digits: opening \(opening), skill \(skill)")
    }
}
