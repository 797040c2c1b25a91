import Files
import Tensor

/// What of an adapter is read where more than LoRA was trained: the LoRA part, with a word about the rest.
public struct LoRAPart: Sendable {
    /// Whether all that stands beside LoRA's tensors may be left out.
    public var isEnough: Bool
    /// The base model's weights, a folder or file, where they are at hand: a copy of them is left out unasked.
    public private(set) var base: String?

    /// `base` that is told in another way than by its weights is not looked at.
    public init(isEnough: Bool = false, base: String? = nil) {
        self.isEnough = isEnough
        let kind = base.flatMap { try? PathKind.of($0) }
        self.base = kind == .folder || kind == .file && base?.hasSuffix(".safetensors") == true ? base : nil
    }

    static let advice =
        "The LoRA part alone is read on request (--lora-only of convert, merge and apply; lora_only in their options)"

    /// Whether a config may ask for more than LoRA. With a base model it is the tensors that tell.
    var allowsMore: Bool { isEnough || base != nil }

    /// LoRA's tensors of a file. The rest is told to `note`, or is an error, which `refusal` gives.
    func tensors(
        of file: SafetensorsFile, note: (String) throws(LoragenError) -> Void,
        isLoRA: (String) throws(LoragenError) -> Bool, refusal: (String) -> LoragenError
    ) throws(LoragenError) -> [SafetensorsTensor] {
        var (kept, left, copies): ([SafetensorsTensor], [SafetensorsTensor], [SafetensorsTensor]) = ([], [], [])
        let copied = CopiedWeights(base)
        for tensor in file.tensors {
            if try isLoRA(tensor.name) {
                kept.append(tensor)
            } else if try copied.has(tensor, of: file) {
                copies.append(tensor)
            } else if isEnough, ForeignTensor.isBeside(tensor.name) {
                left.append(tensor)
            } else {
                throw refusal(tensor.name)
            }
        }
        for (tensors, what) in [(copies, "equal to the base model's"), (left, "not LoRA's")] where !tensors.isEmpty {
            let names = tensors.prefix(8).map { "'\(shortened($0.name))'" }.joined(separator: ", ")
            let more = tensors.count > 8 ? " and \(tensors.count - 8) more" : ""
            try note("left out: tensors of \(file.path) that are \(what): \(names)\(more)")
        }
        return kept
    }
}

/// The weights of a base model, to find copies of them in an adapter's file.
private final class CopiedWeights {
    private let path: String?
    private var files: [SafetensorsFile]?

    init(_ path: String?) { self.path = path }

    /// Whether the base has the same numbers under the name that a PEFT key stands for, up to the rounding of the copy.
    func has(_ tensor: SafetensorsTensor, of file: SafetensorsFile) throws(LoragenError) -> Bool {
        guard let path, tensor.type.isReadable, tensor.name.hasPrefix(PEFTKey.prefix) else { return false }
        let parts = tensor.name.dropFirst(PEFTKey.prefix.count).split(separator: ".", omittingEmptySubsequences: false)
        let name = parts.filter { $0 != "base_layer" }.joined(separator: ".")
        if files == nil { files = try Self.open(path) }
        for base in files ?? [] {
            guard let original = base.tensor(name) else { continue }
            guard original.shape == tensor.shape, original.type.isReadable else { return false }
            return try Self.areEqual(tensor, file, original, base)
        }
        return false
    }

    /// The safetensors of a folder, or the one file.
    private static func open(_ path: String) throws(LoragenError) -> [SafetensorsFile] {
        var files: [SafetensorsFile] = []
        switch try PathKind.of(path) {
        case .folder:
            for name in try fileNames(in: path) where name.hasSuffix(".safetensors") {
                files.append(try SafetensorsFile(path: joinPath(path, name)))
            }
        case nil: break
        default: files.append(try SafetensorsFile(path: path))
        }
        return files
    }

    private static func areEqual(
        _ copy: SafetensorsTensor, _ file: SafetensorsFile, _ original: SafetensorsTensor, _ base: SafetensorsFile
    ) throws(LoragenError) -> Bool {
        let size = 1 << 16
        var (a, b) = ([Float](repeating: 0, count: size), [Float](repeating: 0, count: size))
        var start = 0
        while start < copy.count {
            let range = start..<min(start + size, copy.count)
            try Self.read(file, copy, range, into: &a)
            try Self.read(base, original, range, into: &b)
            for i in 0..<range.count where copy.type.rounded(b[i]) != a[i] { return false }
            start = range.upperBound
        }
        return true
    }

    private static func read(
        _ file: SafetensorsFile, _ tensor: SafetensorsTensor, _ range: Range<Int>, into values: inout [Float]
    ) throws(LoragenError) {
        try values.withUnsafeMutableBufferPointer { buffer in
            Result { () throws(LoragenError) in
                if let target = buffer.baseAddress { try file.read(tensor, range: range, into: target) }
            }
        }.get()
    }
}
