import CLoragen
import Tensor

/// A C string that a caller must give.
func text(_ pointer: UnsafePointer<CChar>?, _ name: StaticString) throws(LoragenError) -> String {
    guard let text = try optionalText(pointer, name) else { throw nullArgument(name) }
    return text
}

/// A C string, `nil` for NULL.
func optionalText(_ pointer: UnsafePointer<CChar>?, _ name: StaticString) throws(LoragenError) -> String? {
    guard let pointer else { return nil }
    guard let text = String(validatingCString: pointer) else {
        throw LoragenError(.invalidArgument, "\(name) is not valid UTF-8")
    }
    return text
}

/// A path that a caller must give.
func path(_ pointer: UnsafePointer<CChar>?, _ name: StaticString = "path") throws(LoragenError) -> String {
    let path = try text(pointer, name)
    if path.isEmpty { throw LoragenError(.invalidArgument, "\(name) is empty") }
    return path
}

/// A path, `nil` for NULL.
func optionalPath(_ pointer: UnsafePointer<CChar>?, _ name: StaticString) throws(LoragenError) -> String? {
    pointer == nil ? nil : try path(pointer, name)
}

/// Throws `.invalidArgument` unless `index` is one of `count`. (A size_t beyond Int.max comes in negative.)
func check(_ index: Int, below count: Int, _ name: StaticString) throws(LoragenError) {
    if index < 0 || index >= count {
        throw LoragenError(.invalidArgument, "\(name) is \(UInt(bitPattern: index)); expected less than \(count)")
    }
}

/// The largest struct that is taken for one: more is a struct that was never initialised.
private let largestStruct = 4096

/// What a caller's `struct_size` says, checked.
private func size(of structure: UnsafeRawPointer, _ name: StaticString) throws(LoragenError) -> Int {
    let size = structure.loadUnaligned(as: Int.self)
    if size < MemoryLayout<Int>.size || size > largestStruct {
        throw LoragenError(
            .invalidArgument,
            "struct_size of \(name) is \(UInt(bitPattern: size)); initialise the struct with its _INIT macro")
    }
    return size
}

/// The options that a caller gave, over the defaults of those that its older header did not have. Fields that only a
/// newer header has must be 0, that is, unused: this library would not do what they ask for.
func options<Options: BitwiseCopyable>(
    _ pointer: UnsafePointer<Options>?, over defaults: Options, _ name: StaticString
) throws(LoragenError) -> Options {
    guard let pointer else { return defaults }
    let theirs = UnsafeRawPointer(pointer)
    let size = try size(of: theirs, name)
    for offset in stride(from: MemoryLayout<Options>.size, to: size, by: 1)
    where theirs.load(fromByteOffset: offset, as: UInt8.self) != 0 {
        throw LoragenError(
            .unsupported,
            "\(name) uses a field of a newer loragen.h, at byte \(offset); this library is version \(versionText)")
    }
    var options = defaults
    withUnsafeMutableBytes(of: &options) { ours in
        ours.copyMemory(from: UnsafeRawBufferPointer(start: theirs, count: min(size, ours.count)))
    }
    return options
}

/// Fills a caller's struct as far as its header knows it; its `struct_size` stays.
func fill<Info: BitwiseCopyable>(
    _ out: UnsafeMutablePointer<Info>?, with info: Info, _ name: StaticString
) throws(LoragenError) {
    guard let out else { throw nullArgument(name) }
    let theirs = UnsafeMutableRawPointer(out)
    let size = try size(of: theirs, name)
    let field = MemoryLayout<Int>.size
    withUnsafeBytes(of: info) { ours in
        for offset in stride(from: field, to: min(size, ours.count), by: 1) {
            theirs.storeBytes(of: ours[offset], toByteOffset: offset, as: UInt8.self)
        }
    }
}
