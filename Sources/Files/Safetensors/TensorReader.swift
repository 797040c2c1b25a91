import Tensor

/// Tensors of a mapped file, borrowed and not copied.
public struct TensorReader {
    public let file: SafetensorsFile

    public init(_ file: SafetensorsFile) { self.file = file }

    /// A tensor of that name, nil if there is none.
    public func tensor(_ name: String) throws(LoragenError) -> Tensor<Float>? {
        guard let place = file.tensor(name) else { return nil }
        guard place.type == .f32 else {
            throw LoragenError(.format, "\(file.path): tensor '\(name)' is \(place.type.rawValue); expected F32")
        }
        let bytes = file.bytes(of: place)
        guard let base = bytes.baseAddress, bytes.count == place.count * 4,
            Int(bitPattern: base) % MemoryLayout<Float>.alignment == 0
        else {
            try Memory.require(2 * place.count, of: Float.self, for: "tensor '\(name)', which lies at an odd byte,")
            return Tensor(try file.floats(name), shape: place.shape)
        }
        return Tensor(borrowing: base.assumingMemoryBound(to: Float.self), shape: place.shape, owner: file)
    }

    /// A matrix in bf16 on the mapped memory; nil if it is of another type.
    public func half(_ name: String, _ shape: [Int]) throws(LoragenError) -> HalfMatrix? {
        guard let place = file.tensor(name), place.type == .bf16 else { return nil }
        _ = try file.require(name, type: .bf16, shape: shape)
        let bytes = file.bytes(of: place)
        guard let base = bytes.baseAddress, shape.count == 2, bytes.count == 2 * place.count,
            UInt(bitPattern: base) % 2 == 0
        else {
            throw LoragenError(.format, "\(file.path): tensor '\(name)' is not a matrix at an even byte")
        }
        return HalfMatrix(borrowing: base, shape: shape, owner: file)
    }

    public func tensor(_ name: String, _ shape: [Int]) throws(LoragenError) -> Tensor<Float> {
        _ = try file.require(name, type: .f32, shape: shape)
        return try present(name)
    }

    /// A tensor of any shape.
    public func present(_ name: String) throws(LoragenError) -> Tensor<Float> {
        guard let tensor = try tensor(name) else {
            throw LoragenError(.format, "\(file.path): tensor '\(name)' is missing")
        }
        return tensor
    }
}

extension SafetensorsWriter {
    /// Adds a tensor, which the writer keeps alive until it has written it.
    public mutating func add(_ name: String, _ tensor: Tensor<Float>) throws(LoragenError) {
        try add(name, type: .f32, shape: tensor.shape) { (sink) throws(LoragenError) in
            try tensor.withUnsafeBytes { raw in Result { () throws(LoragenError) in try sink(raw) } }.get()
        }
    }
}
