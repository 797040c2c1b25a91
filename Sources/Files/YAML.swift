import CYAML
import Tensor

/// Reads the YAML of cards and configs as JSON: the first document, scalars as texts, `null` where a plain one says nothing.
/// An alias is `null` too, so that nothing grows; a member whose name is no scalar is left out.
public enum YAML {
    /// The most bytes that are read, and the deepest nesting.
    public static let sizeLimit = 1 << 20
    public static let depthLimit = 64

    /// Throws `.memory`, and `.format` with the line at which the text stops being YAML; `source` is named in messages.
    public static func parse(_ text: String, source: String) throws(LoragenError) -> JSON {
        if text.utf8.count > sizeLimit {
            throw LoragenError(.format, "\(source): \(text.utf8.count) bytes of YAML; expected at most \(sizeLimit)")
        }
        if text.isEmpty { return .null }
        var text = text
        return try text.withUTF8 { bytes in
            Result { () throws(LoragenError) in
                let parser = try YAMLParser(bytes, source: source)
                return try parser.document()
            }
        }.get()
    }
}

private final class YAMLParser {
    private enum Event {
        case scalar(String, isPlain: Bool)
        case mapping, list, end, alias, other, streamEnd
    }

    private let source: String
    // It points to itself, so that it has to stay where it is.
    private let parser = UnsafeMutablePointer<yaml_parser_t>.allocate(capacity: 1)

    /// `bytes` must outlive it.
    init(_ bytes: UnsafeBufferPointer<UInt8>, source: String) throws(LoragenError) {
        self.source = source
        guard yaml_parser_initialize(parser) == 1 else {
            throw LoragenError(.memory, "\(source): no memory for a YAML parser")
        }
        yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING)
        yaml_parser_set_input_string(parser, bytes.baseAddress, bytes.count)
    }

    deinit {
        yaml_parser_delete(parser)
        parser.deallocate()
    }

    func document() throws(LoragenError) -> JSON {
        while true {
            switch try next() {
            case .other: continue
            case .streamEnd: return .null
            case let event: return try value(event, depth: 0)
            }
        }
    }

    private func value(_ event: Event, depth: Int) throws(LoragenError) -> JSON {
        if depth > YAML.depthLimit {
            throw error("nested deeper than \(YAML.depthLimit)")
        }
        switch event {
        case .scalar(let text, let isPlain):
            return isPlain && ["", "~", "null", "Null", "NULL"].contains(text) ? .null : .string(text)
        case .list:
            var items: [JSON] = []
            while true {
                let event = try next()
                if case .end = event { return .array(items) }
                items.append(try value(event, depth: depth + 1))
            }
        case .mapping:
            var object = JSONObject()
            while true {
                let event = try next()
                if case .end = event { return .object(object) }
                _ = try value(event, depth: depth + 1)
                let member = try value(next(), depth: depth + 1)
                if case .scalar(let name, _) = event { object[name] = member }
            }
        case .alias, .end, .other: return .null
        case .streamEnd: throw error("it ends within a value")
        }
    }

    private func next() throws(LoragenError) -> Event {
        var event = yaml_event_t()
        guard yaml_parser_parse(parser, &event) == 1 else {
            if parser.pointee.error == YAML_MEMORY_ERROR {
                throw LoragenError(.memory, "\(source): no memory to read its YAML")
            }
            throw error(parser.pointee.problem.map { String(cString: $0) } ?? "it cannot be read")
        }
        defer { yaml_event_delete(&event) }
        switch event.type {
        case YAML_SCALAR_EVENT:
            let scalar = event.data.scalar
            let bytes = UnsafeBufferPointer(start: scalar.value, count: scalar.length)
            return .scalar(String(decoding: bytes, as: UTF8.self), isPlain: scalar.style == YAML_PLAIN_SCALAR_STYLE)
        case YAML_MAPPING_START_EVENT: return .mapping
        case YAML_SEQUENCE_START_EVENT: return .list
        case YAML_MAPPING_END_EVENT, YAML_SEQUENCE_END_EVENT: return .end
        case YAML_ALIAS_EVENT: return .alias
        case YAML_STREAM_END_EVENT: return .streamEnd
        default: return .other
        }
    }

    private func error(_ problem: String) -> LoragenError {
        let line = max(parser.pointee.problem_mark.line, parser.pointee.mark.line)
        return LoragenError(.format, "\(source), line \(line + 1): not YAML: \(problem)")
    }
}
