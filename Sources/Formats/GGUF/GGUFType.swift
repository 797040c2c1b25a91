import Files

/// An element type of ggml: its number in a file, and the size of its blocks.
struct GGUFType: Equatable, Sendable {
    let code: UInt32
    let name: String
    /// Elements of a block, and its bytes.
    let block: (elements: Int, bytes: Int)

    static func == (a: GGUFType, b: GGUFType) -> Bool { a.code == b.code }

    static let f32 = GGUFType(code: 0, name: "F32", block: (1, 4))
    static let f16 = GGUFType(code: 1, name: "F16", block: (1, 2))
    static let q8 = GGUFType(code: 8, name: "Q8_0", block: (32, 34))
    static let f64 = GGUFType(code: 28, name: "F64", block: (1, 8))
    static let bf16 = GGUFType(code: 30, name: "BF16", block: (1, 2))

    /// All of ggml 0.25.3; a base model may have any of them.
    private static let all: [UInt32: GGUFType] = {
        let others: [(UInt32, String, Int, Int)] = [
            (2, "Q4_0", 32, 18), (3, "Q4_1", 32, 20), (6, "Q5_0", 32, 22), (7, "Q5_1", 32, 24), (9, "Q8_1", 32, 36),
            (10, "Q2_K", 256, 84), (11, "Q3_K", 256, 110), (12, "Q4_K", 256, 144), (13, "Q5_K", 256, 176),
            (14, "Q6_K", 256, 210), (15, "Q8_K", 256, 292), (16, "IQ2_XXS", 256, 66), (17, "IQ2_XS", 256, 74),
            (18, "IQ3_XXS", 256, 98), (19, "IQ1_S", 256, 50), (20, "IQ4_NL", 32, 18), (21, "IQ3_S", 256, 110),
            (22, "IQ2_S", 256, 82), (23, "IQ4_XS", 256, 136), (24, "I8", 1, 1), (25, "I16", 1, 2), (26, "I32", 1, 4),
            (27, "I64", 1, 8), (29, "IQ1_M", 256, 56), (34, "TQ1_0", 256, 54), (35, "TQ2_0", 256, 66),
            (39, "MXFP4", 32, 17), (40, "NVFP4", 64, 36), (41, "Q1_0", 128, 18),
        ]
        var table: [UInt32: GGUFType] = [:]
        for type in [f32, f16, q8, f64, bf16] { table[type.code] = type }
        for (code, name, elements, bytes) in others {
            table[code] = GGUFType(code: code, name: name, block: (elements, bytes))
        }
        return table
    }()

    static func of(_ code: UInt32) -> GGUFType? { all[code] }

    private init(code: UInt32, name: String, block: (elements: Int, bytes: Int)) {
        self.code = code
        self.name = name
        self.block = block
    }

    /// Bytes of a tensor with the row-major shape; `nil` when its rows are not whole blocks or a product overflows.
    func byteCount(shape: [Int]) -> (elements: Int, bytes: Int)? {
        guard (shape.last ?? 1) % block.elements == 0 else { return nil }
        var elements = 1
        for dimension in shape {
            let (product, overflow) = elements.multipliedReportingOverflow(by: dimension)
            if overflow || dimension < 0 { return nil }
            elements = product
        }
        let (bytes, overflow) = (elements / block.elements).multipliedReportingOverflow(by: block.bytes)
        return overflow ? nil : (elements, bytes)
    }

    /// As which type of safetensors the elements are stored; `nil` for blocks and whole numbers.
    var element: ElementType? {
        switch self {
        case .f32: .f32
        case .f16: .f16
        case .bf16: .bf16
        case .f64: .f64
        default: nil
        }
    }

    init?(_ type: ElementType) {
        switch type {
        case .f32: self = .f32
        case .f16: self = .f16
        case .bf16: self = .bf16
        default: return nil
        }
    }
}
