/// How two operands walk together over a result (NumPy's rule): dimensions with a common walk are merged, those of
/// extent 1 dropped; a stride of 0 repeats the operand.
struct Broadcast {
    private(set) var shape: [Int]
    private(set) var dims: [Int] = []
    private(set) var strideA: [Int] = []
    private(set) var strideB: [Int] = []

    init(_ a: [Int], _ b: [Int]) {
        let rank = max(a.count, b.count)
        shape = [Int](repeating: 1, count: rank)
        var stepA = 1
        var stepB = 1
        for axis in (0..<rank).reversed() {
            let extentA = axis - rank + a.count >= 0 ? a[axis - rank + a.count] : 1
            let extentB = axis - rank + b.count >= 0 ? b[axis - rank + b.count] : 1
            precondition(extentA == extentB || extentA == 1 || extentB == 1, "shapes \(a) and \(b) do not broadcast")
            let extent = extentA == 1 ? extentB : extentA
            shape[axis] = extent
            if extent != 1 { prepend(extent, extentA == 1 ? 0 : stepA, extentB == 1 ? 0 : stepB) }
            stepA *= extentA
            stepB *= extentB
        }
        if dims.isEmpty { (dims, strideA, strideB) = ([1], [1], [1]) }
    }

    private mutating func prepend(_ extent: Int, _ a: Int, _ b: Int) {
        if let inner = dims.first, a == strideA[0] * inner, b == strideB[0] * inner {
            dims[0] *= extent
        } else {
            dims.insert(extent, at: 0)
            strideA.insert(a, at: 0)
            strideB.insert(b, at: 0)
        }
    }
}
