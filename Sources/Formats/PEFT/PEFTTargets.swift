import Adapters
import Files
import Tensor

/// Which modules a config asks PEFT to adapt: `target_modules`, `exclude_modules`, `layers_to_transform`, `layers_pattern`.
/// What is not asked for PEFT ignores without a word, tensors or not.
public struct PEFTTargets {
    private enum Names {
        case list([String])
        case pattern(PythonPattern)
        /// Every Linear and Conv1D but the output layer.
        case allLinear

        func contains(_ module: ModuleShape) throws(LoragenError) -> Bool {
            switch self {
            case .list(let list): list.contains { $0 == module.name || module.name.hasSuffix("." + $0) }
            case .pattern(let pattern): try pattern.matches(module.name)
            case .allLinear:
                (module.kind == .linear || module.kind == .transposedLinear)
                    && module.name.split(separator: ".").last != "lm_head"
            }
        }
    }

    private let targets: Names
    private let excluded: Names?
    private let layers: [Int]?
    private let layerNames: [String]
    private let source: String

    /// `isOptional`: the config may do without `target_modules`, and then adapts no module by name.
    public init(_ json: JSON, isOptional: Bool, source: String) throws(LoragenError) {
        self.source = source
        let targets = try Self.names(json, "target_modules", isOptional: isOptional, source)
        guard let targets = targets ?? (isOptional ? .list([]) : nil) else {
            throw PEFTConfig.wrong(
                json, "target_modules",
                "a list of module names (without it PEFT takes its own default and ignores the other tensors)", source)
        }
        self.targets = targets
        excluded = try Self.names(json, "exclude_modules", isOptional: true, source)
        switch json["layers_to_transform"] ?? .null {
        case .null: layers = nil
        case .integer(let layer): layers = [Int(layer)]
        case .array(let list) where list.isEmpty: layers = nil
        case .array(let list) where list.allSatisfy({ $0.integer != nil }): layers = list.compactMap(\.integer)
        default: throw PEFTConfig.wrong(json, "layers_to_transform", "a whole number or a list of them", source)
        }
        switch json["layers_pattern"] ?? .null {
        case .null, "": layerNames = []
        case .string(let name): layerNames = [name]
        case .array(let list) where list.allSatisfy({ $0.string != nil }): layerNames = list.compactMap(\.string)
        default: throw PEFTConfig.wrong(json, "layers_pattern", "a name or a list of names", source)
        }
    }

    private static func names(
        _ json: JSON, _ field: String, isOptional: Bool, _ source: String
    ) throws(LoragenError) -> Names? {
        switch json[field] ?? .null {
        case .null: return nil
        case .string(let text) where text.lowercased() == "all-linear" && field == "target_modules": return .allLinear
        case .string(let text) where !text.isEmpty:
            return .pattern(try PythonPattern(text, source: "\(source): '\(field)'"))
        case .array(let list) where list.isEmpty && isOptional: return nil
        case .array(let list) where !list.isEmpty && list.allSatisfy({ $0.string?.isEmpty == false }):
            return .list(list.compactMap(\.string).sorted(by: precedes))
        default: throw PEFTConfig.wrong(json, field, "a list of module names", source)
        }
    }

    /// The list of `target_modules` where it alone says which modules are adapted; a writer may then use it again.
    var plainList: [String] {
        guard case .list(let list) = targets, excluded == nil, layers == nil else { return [] }
        return list
    }

    /// Throws `.mismatch` when PEFT would silently ignore the tensors of a module.
    public func check(_ module: ModuleShape) throws(LoragenError) {
        func ignored(_ reason: String) -> LoragenError {
            LoragenError(
                .mismatch,
                "\(source): \(reason) module '\(module.name)', whose tensors are in the adapter; PEFT would ignore them. Name "
                    + "it there, or leave its tensors out")
        }
        if try !targets.contains(module) { throw ignored("'target_modules' does not name") }
        if let excluded, try excluded.contains(module) { throw ignored("'exclude_modules' names") }
        guard case .list = targets, let layers else { return }
        guard let layer = layer(of: module.name) else {
            throw ignored("'layers_to_transform' is given, and PEFT finds no layer in the name of")
        }
        if !layers.contains(layer) { throw ignored("'layers_to_transform' leaves layer \(layer) out, and with it") }
    }

    /// The layer that PEFT sees in a name: the first component that is a number, stands at the third place or later,
    /// and is not the last; with `layers_pattern` the one after that name.
    private func layer(of module: String) -> Int? {
        let components = module.split(separator: ".", omittingEmptySubsequences: false)
        func isNumber(_ place: Int) -> Bool { components[place].utf8.allSatisfy { (0x30...0x39).contains($0) } }
        func first(from start: Int, after name: String?) -> Int? {
            guard components.count > start + 1 else { return nil }
            for place in start..<(components.count - 1) where isNumber(place) {
                if let name, components[place - 1] != name { continue }
                return Int(components[place])
            }
            return nil
        }
        if layerNames.isEmpty { return first(from: 2, after: nil) }
        return layerNames.lazy.compactMap { first(from: 1, after: $0) }.first
    }
}
