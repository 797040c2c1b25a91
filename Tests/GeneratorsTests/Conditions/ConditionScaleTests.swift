import Testing

@testable import Conditions

@Suite struct ConditionScaleTests {
    @Test(
        "conditions of any unit come out with mean 0 and deviation 1",
        arguments: [1e-12, 1e-5, 1, 1e9, 1e30] as [Float])
    func units(unit: Float) {
        let conditions = [1, 2, 4, 9].map { [Float($0) * unit, unit] }
        let scaled = ConditionScale(fitting: conditions)(conditions)
        let column = (0..<4).map { Double(scaled[$0, 0]) }
        #expect(abs(column.reduce(0, +)) < 1e-5)
        #expect(abs(column.reduce(0) { $0 + $1 * $1 } / 4 - 1) < 1e-4)
    }

    @Test func `an entry that never changes stays zero, also for conditions that change it`() {
        let scale = ConditionScale(fitting: [[0.1, 1], [0.1, 2], [0.1, 3]])
        #expect(scale([[0.1, 2]])[0, 0] == 0)
        #expect(scale([[7, 2]])[0, 0] == 0)
    }

    @Test func `no conditions are no numbers`() {
        let scale = ConditionScale(fitting: [[], []])
        #expect(scale([[], [], []]).shape == [3, 0])
    }
}
