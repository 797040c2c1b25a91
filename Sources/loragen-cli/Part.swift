import ArgumentParser
import CLoragen
import Files
import Glibc

/// A value for one part of a condition, "style=01" or "subject=0.2,-1", in memory that stays: a command has few.
struct Part {
    let value: loragen_condition

    /// The generator says whether numbers or another kind is meant.
    init(_ text: String, of generator: OpaquePointer) throws {
        guard let equals = text.firstIndex(of: "="), equals != text.startIndex else {
            throw ValidationError("--part \(text): expected NAME=VALUE, such as style=01 or subject=0.2,-1.")
        }
        let (name, given) = (String(text[..<equals]), String(text[text.index(after: equals)...]))
        guard let kind = try Self.kind(of: name, generator) else {
            throw Failure(
                message: "--part \(text): the generator takes no part \"\(name)\"",
                next: "loragen info names the parts of its condition.")
        }
        if kind == "images" {
            self = try Self(picture: given, of: name)
            return
        }
        guard kind == "vector" else {
            self = Self(given, kind: kind, of: name)
            return
        }
        guard let numbers = Vector(argument: given)?.values else {
            throw ValidationError("--part \(text): expected numbers separated by commas.")
        }
        let copy = UnsafeMutablePointer<Float>.allocate(capacity: max(1, numbers.count))
        copy.initialize(from: numbers, count: numbers.count)
        value = loragen_condition(
            name: strdup(name), kind: strdup(kind), data: UnsafeRawPointer(copy), size: numbers.count)
    }

    /// Bits or a text.
    init(_ text: String, kind: String, of name: String? = nil) {
        value = loragen_condition(
            name: name.flatMap { UnsafePointer(strdup($0)) }, kind: strdup(kind), data: UnsafeRawPointer(strdup(text)),
            size: text.utf8.count)
    }

    /// A picture's file.
    init(picture path: String, of name: String? = nil) throws {
        let file = try MappedFile(path: path)
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, file.bytes.count), alignment: 1)
        copy.copyMemory(from: file.bytes)
        value = loragen_condition(
            name: name.flatMap { UnsafePointer(strdup($0)) }, kind: strdup("images"),
            data: UnsafeRawPointer(copy.baseAddress), size: file.bytes.count)
        withExtendedLifetime(file) {}
    }

    private static func kind(of name: String, _ generator: OpaquePointer) throws -> String? {
        for part in try conditionParts(of: generator) where part.name == name { return part.kind }
        return nil
    }
}

/// The parts of the condition that a generator takes.
func conditionParts(of generator: OpaquePointer) throws -> [(name: String, kind: String, length: Int, encoder: String?)]
{
    var info = loragen_generator_info()
    info.struct_size = MemoryLayout<loragen_generator_info>.size
    try call(loragen_generator_describe(generator, &info))
    return try (0..<info.condition_count).map { index in
        var part = loragen_condition_info()
        part.struct_size = MemoryLayout<loragen_condition_info>.size
        try call(loragen_generator_condition(generator, index, &part))
        return (string(part.name), string(part.kind), part.length, part.encoder.map { String(cString: $0) })
    }
}
