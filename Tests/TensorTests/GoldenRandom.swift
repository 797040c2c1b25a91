enum GoldenRandom {
    static let normalBits: [UInt64] = [0, 0, 0, 0]
}
