import Tensor

/// Numbers of parameters, counted from sizes alone: nothing is allocated.
public enum ParameterCount {
    public static func linear(_ inputs: Int, _ outputs: Int) -> Int { (inputs + 1) * outputs }

    /// A convolution in one dimension with `kernel` taps, or in two with `kernel` = taps in all. A transposed one has
    /// the same weights and `outputs` biases.
    public static func convolution(_ inputs: Int, _ outputs: Int, kernel: Int) -> Int {
        (inputs * kernel + 1) * outputs
    }

    /// Scale and shift; running statistics are not parameters.
    public static func batchNorm(_ channels: Int) -> Int { 2 * channels }
}

/// Bounds on what a settings file may ask of a network: within them no size below can overflow.
public enum NetworkLimits {
    public static let channels = 1...16_384
    static let stages = 1...16
    public static let values = 1...(1 << 31)

    public static func check(channels list: [Int], name: String) throws(LoragenError) {
        try check(list.count, in: stages, name: "number of \(name)")
        for count in list { try check(count, in: channels, name: name) }
    }

    public static func check(_ value: Int, in range: ClosedRange<Int>, name: String) throws(LoragenError) {
        guard range.contains(value) else {
            throw LoragenError(
                .invalidArgument, "\(name) is \(value), expected \(range.lowerBound)...\(range.upperBound)")
        }
    }

    public static func check(oddKernel kernel: Int) throws(LoragenError) {
        guard (1...63).contains(kernel), kernel % 2 == 1 else {
            throw LoragenError(.invalidArgument, "kernel is \(kernel), expected an odd number from 1 to 63")
        }
    }

    public static func check(noise: Double, name: String) throws(LoragenError) {
        guard noise >= 0, noise <= 1e3 else {
            throw LoragenError(.invalidArgument, "\(name) is \(noise), expected 0 to 1000")
        }
    }
}
