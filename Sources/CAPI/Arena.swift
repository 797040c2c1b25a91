/// Memory for what getters hand out: it stays where it is, as long as the arena lives.
final class Arena {
    private var blocks: [UnsafeMutableRawPointer] = []

    func text(_ text: String) -> UnsafePointer<CChar> {
        var text = text
        return text.withUTF8 { bytes in
            let copy = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count + 1)
            for (index, byte) in bytes.enumerated() { copy[index] = CChar(bitPattern: byte) }
            copy[bytes.count] = 0
            blocks.append(UnsafeMutableRawPointer(copy))
            return UnsafePointer(copy)
        }
    }

    func text(_ text: String?) -> UnsafePointer<CChar>? {
        guard let text else { return nil }
        return self.text(text) as UnsafePointer<CChar>
    }

    func values<Value: BitwiseCopyable>(_ values: [Value]) -> UnsafePointer<Value> {
        let copy = UnsafeMutablePointer<Value>.allocate(capacity: max(values.count, 1))
        copy.initialize(from: values, count: values.count)
        blocks.append(UnsafeMutableRawPointer(copy))
        return UnsafePointer(copy)
    }

    deinit {
        for block in blocks { block.deallocate() }
    }
}
