import Adapters
import Files
import Formats
import Tensor

/// A check of an adapter before it leaves: against a base model's headers, and against what hosts do with it.
public struct Verification: Sendable {
    public let adapter: String
    public let base: String?
    /// The gravest first.
    public let findings: [VerificationFinding]
    public let hosts: [HostVerdict]
    /// `√Σ‖scale · B · A‖²` over all modules; `nil` when the adapter could not be read.
    public let norm: Double?

    /// Checks the adapter at `path`, in any format, against the base model at `base`: see `BaseWeights` for what that may
    /// be. `norms` is what adapters of its kind have. An adapter that cannot be used is a finding; throws `.io` and
    /// `.memory`, and for a base model that cannot be read.
    public init(
        adapter path: String, base: String? = nil, norms: ClosedRange<Double>? = nil
    ) throws(LoragenError) {
        adapter = path
        self.base = base
        let weights = try base.map { (path) throws(LoragenError) in try BaseWeights(path) }
        let read: Adapter
        do throws(LoragenError) {
            read = try Adapter.read(path: path, base: weights?.gguf == nil && weights?.modelType == nil ? nil : base)
        } catch {
            // What this installation lacks is no fault of the adapter.
            if error.code == .io || error.code == .memory || path.hasSuffix(".onnx") && ONNXLibrary.isMissing {
                throw error
            }
            let code = error.code == .nonFinite ? "non-finite" : "unreadable"
            findings = [VerificationFinding(severity: .error, code: code, message: error.message, modules: [])]
            hosts = []
            norm = nil
            return
        }
        defer { withExtendedLifetime(read) {} }
        var check = AdapterCheck(adapter: read)
        norm = check.products(norms: norms)
        if let weights { try check.base(weights) }
        check.layers(of: weights)
        let rules = try HostRules(read, path: path, base: weights)
        if let model = weights?.onnx?.graph { check.inputs(try rules.lackingInputs(of: model)) }
        hosts = rules.verdicts(given: check.misfits)
        check.hosts(hosts)
        let order = VerificationFinding.Severity.allCases
        findings = check.findings.enumerated().sorted { a, b in
            let (x, y) = (order.firstIndex(of: a.element.severity) ?? 0, order.firstIndex(of: b.element.severity) ?? 0)
            return x == y ? a.offset < b.offset : x < y
        }.map(\.element)
    }

    public func count(_ severity: VerificationFinding.Severity) -> Int {
        findings.lazy.filter { $0.severity == severity }.count
    }

    public var json: JSON {
        var object: JSONObject = [
            "adapter": .string(adapter), "base": base.map { .string($0) } ?? .null,
            "errors": JSON(count(.error)), "warnings": JSON(count(.warning)),
        ]
        if let norm { object["norm"] = .number(norm) }
        object["findings"] = .array(findings.map(\.json))
        object["hosts"] = .array(hosts.map(\.json))
        return .object(object)
    }

    /// For people, lines without an end.
    public var text: [String] {
        var lines = ["\(adapter): \(count(.error)) errors, \(count(.warning)) warnings"]
        for finding in findings {
            let shown = finding.modules.prefix(3).joined(separator: ", ")
            let more = finding.modules.count > 3 ? " and \(finding.modules.count - 3) more" : ""
            lines.append(
                "\(finding.severity.rawValue): \(finding.message)" + (shown.isEmpty ? "" : " (\(shown)\(more))"))
        }
        for verdict in hosts {
            var line = "\(verdict.host): \(verdict.outcome.rawValue)"
            if let scale = verdict.scale {
                line +=
                    scale.lowerBound == scale.upperBound
                    ? ", scale \(scale.lowerBound)" : ", scales \(scale.lowerBound) to \(scale.upperBound)"
            }
            lines.append(verdict.reason.isEmpty ? line : "\(line): \(verdict.reason)")
        }
        return lines
    }
}

/// What of an adapter does not fit its base model.
struct Misfits {
    /// Modules that the model does not have.
    var missing: Set<String> = []
    /// Modules whose weights are of other shapes there.
    var misshapen: Set<String> = []
    /// Whether an ONNX model has not the inputs for it.
    var lacksInputs = false

    var isEmpty: Bool { missing.isEmpty && misshapen.isEmpty && !lacksInputs }
}

/// The checks of one adapter, and what they found so far.
struct AdapterCheck {
    let adapter: Adapter
    private(set) var findings: [VerificationFinding] = []
    private(set) var misfits = Misfits()

    init(adapter: Adapter) { self.adapter = adapter }

    private var modules: [ModuleShape] { adapter.layout.modules }

    private mutating func add(
        _ severity: VerificationFinding.Severity, _ code: String, _ message: String, _ modules: [String] = []
    ) {
        findings.append(VerificationFinding(severity: severity, code: code, message: message, modules: modules))
        if severity != .error { return }
        if code == "missing-module" || code == "missing-layer" { misfits.missing.formUnion(modules) }
        if code == "wrong-shape" || code == "tied-embeddings" { misfits.misshapen.formUnion(modules) }
    }

    /// Zero products, and the norm of all.
    mutating func products(norms: ClosedRange<Double>?) -> Double {
        let squares = adapter.squaredNorms()
        let zero = zip(modules, squares).filter { $0.1 <= 0 }.map(\.0.name)
        let total = squares.reduce(0, +)
        guard total.isFinite else {
            add(
                .error, "non-finite",
                "the products of the factors are too large for a number; train or generate it again")
            return total.squareRoot()
        }
        if zero.count == modules.count {
            add(
                .error, "all-zero",
                "every product B·A is zero, so the adapter changes nothing; it is likely untrained, or its lora_B was lost"
            )
        } else if !zero.isEmpty {
            add(.note, "zero-module", "\(zero.count) of \(modules.count) modules change nothing: B·A is zero", zero)
        }
        let norm = total.squareRoot()
        if let norms, !norms.contains(norm) {
            // A generator that knows nothing of a condition gives its mean, which is small.
            let advice =
                norm > norms.upperBound
                ? "Look at its scale, or generate with a smaller --guidance"
                : "Look at its scale, or at what generated it: one that tells its tasks apart badly makes small adapters"
            add(
                .warning, "norm",
                "the norm of all updates is \(norm); the adapters of the corpus have \(norms.lowerBound) to "
                    + "\(norms.upperBound). \(advice)")
        }
        return norm
    }

    /// Names and shapes.
    mutating func base(_ base: BaseWeights) throws(LoragenError) {
        if let gguf = base.gguf {
            for module in modules { checkGGUF(module, gguf) }
        } else if let onnx = base.onnx {
            for module in modules {
                do throws(LoragenError) {
                    _ = try onnx.graph.layers(for: module, in: onnx.layers)
                } catch {
                    add(.error, "missing-module", error.message, [module.name])
                }
            }
        } else if base.weights == nil {
            add(
                .note, "shapes-unknown",
                "\(base.source) does not say which weights the model has; give its .safetensors file or folder to check names "
                    + "and shapes")
        } else {
            checkNames(base)
        }
        checkEmbeddings(base)
        if let name = base.modelType, name == "gpt2" {
            let plain = modules.filter { $0.kind == .linear && $0.name != "lm_head" }.map(\.name)
            if !plain.isEmpty {
                add(
                    .warning, "fan-in-fan-out",
                    "the base model keeps these weights as [in, out] and the adapter's config says fan_in_fan_out false; PEFT "
                        + "corrects that with a warning, other hosts may not. Set it to true", plain)
            }
        }
    }

    private mutating func checkNames(_ base: BaseWeights) {
        var missing: [(String, String?)] = []
        var inexact: [String] = []
        var unknown: [String] = []
        for module in modules {
            switch base.weight(of: module.name) {
            case nil: break
            case .missing(let nearest)?: missing.append((module.name, nearest))
            case .expert(let weight, let rows)?:
                guard let shape = weight.shape, !weight.isPacked else {
                    unknown.append(module.name)
                    continue
                }
                let parts = module.name.split(separator: ".")
                let expert = nameIndex(parts[parts.count - 2]) ?? 0
                let expected = [rows * module.outputs, module.inputs]
                if shape.count != 3 || expert >= shape[0]
                    || Array(shape.dropFirst()) != expected && Array(shape.dropFirst()) != expected.reversed()
                {
                    add(
                        .error, "wrong-shape",
                        "the base model's '\(weight.name)' is \(shape); expert \(expert) of the adapter needs \(expected). It is "
                            + "for another model", [module.name])
                }
            case .found(let weight, let isExact)?:
                if !isExact { inexact.append(module.name) }
                guard let shape = weight.shape, !weight.isPacked else {
                    unknown.append(module.name)
                    continue
                }
                checkShape(module, weight.name, shape)
            }
        }
        if !missing.isEmpty {
            let near = missing.lazy.compactMap { name, nearest in nearest.map { (name, $0) } }.first
            let hint = near.map { "; the base model has '\($0.1)', for example" } ?? ""
            let cause =
                near.flatMap { otherPrefix($0.0, $0.1) }.map {
                    "Their names begin with \($0.0), the base model's with \($0.1): "
                } ?? ""
            add(
                .error, "missing-module",
                "\(missing.count) of \(modules.count) modules are not in the base model\(hint). PEFT would leave them out without "
                    + "a word, servers would refuse the adapter. \(cause.isEmpty ? "It" : cause + "it") is for another model, its names need another prefix, or "
                    + "the library that trained it renames the checkpoint's weights on loading",
                missing.map(\.0))
        }
        if !inexact.isEmpty {
            add(
                .note, "other-prefix",
                "\(inexact.count) modules were found under another prefix than the checkpoint has, as when the model is loaded "
                    + "by another class", inexact)
        }
        if !unknown.isEmpty {
            add(
                .note, "shapes-unknown",
                "the shapes of \(unknown.count) weights are not known (a shard is not here, or they are quantised)",
                unknown)
        }
    }

    private mutating func checkShape(_ module: ModuleShape, _ name: String, _ shape: [Int]) {
        let expected: [Int]
        switch module.kind {
        case .linear: expected = [module.outputs, module.inputs]
        case .transposedLinear, .embedding: expected = [module.inputs, module.outputs]
        case .convolution: expected = [module.outputs, module.inputs / module.groups] + module.kernel
        }
        if shape == expected { return }
        if module.kind == .linear && shape == expected.reversed() {
            add(
                .warning, "fan-in-fan-out",
                "the base model's '\(name)' is \(shape), [in, out]; set fan_in_fan_out to true in the adapter's config",
                [module.name])
            return
        }
        let hint: String
        if module.kind == .linear && shape.count > 2 && Array(shape.prefix(2)) == expected {
            hint = "the base model has a convolution there, whose lora_A is [rank, in, kernel...]"
        } else if module.kind != .transposedLinear && shape == expected.reversed() {
            hint = "lora_A and lora_B may be exchanged"
        } else {
            hint = "it is for another model, or for another size of it"
        }
        add(
            .error, "wrong-shape", "the base model's '\(name)' is \(shape); the adapter needs \(expected): \(hint)",
            [module.name])
    }

    private mutating func checkGGUF(_ module: ModuleShape, _ file: GGUFFile) {
        let place: GGUFNames.Place
        do throws(LoragenError) {
            place = try GGUFNames.place(of: module.name)
        } catch {
            return add(.error, "missing-module", error.message, [module.name])
        }
        guard let tensor = file.tensor(place.tensor) else {
            if place.tensor == "output.weight" { return }
            return add(
                .error, "missing-module",
                "the base model has no tensor '\(place.tensor)', so llama.cpp would refuse the adapter; it is for another model",
                [module.name])
        }
        let matrix = module.kind == .embedding ? [module.inputs, module.outputs] : [module.outputs, module.inputs]
        let expected = place.expert == nil ? matrix : [tensor.shape.first ?? 0] + matrix
        if tensor.shape != expected || (place.expert ?? 0) >= (place.expert == nil ? 1 : tensor.shape.first ?? 0) {
            add(
                .error, "wrong-shape",
                "the base model's '\(place.tensor)' is \(tensor.shape); the adapter needs \(expected). It is for another model",
                [module.name])
        }
    }

    private mutating func checkEmbeddings(_ base: BaseWeights) {
        guard base.hasTiedEmbeddings else { return }
        let shared = modules.map(\.name).filter { name in
            ["lm_head", "embed_tokens", "wte"].contains { name == $0 || name.hasSuffix("." + $0) }
        }
        if shared.isEmpty { return }
        add(
            base.gguf != nil && shared.contains { $0.hasSuffix("lm_head") } ? .error : .warning, "tied-embeddings",
            "the base model's output layer is its embedding table, and the adapter changes one of the two: a host that merges "
                + "changes both, llama.cpp has no output.weight to change. Leave these modules out", shared)
    }

    /// Modules that some layers lack.
    mutating func layers(of base: BaseWeights?) {
        let deepest = modules.compactMap(\.layerIndex).max() ?? -1
        if let count = base?.layerCount, base?.weights == nil || base?.modelType != nil, deepest >= count,
            base?.gguf == nil
        {
            let beyond = modules.filter { ($0.layerIndex ?? -1) >= count }.map(\.name)
            add(
                .error, "missing-layer",
                "the base model has \(count) layers, 0 to \(count - 1); the adapter has modules in layer \(deepest). It is for "
                    + "another model", beyond)
        }
    }

    /// The parameters of an .onnx_adapter file that a model does not take.
    mutating func inputs(_ lacking: [String]) {
        guard let first = lacking.first else { return }
        add(
            .error, "missing-input",
            "\(lacking.count) parameters of the file are no inputs of the model, or of another shape or type ('\(first)', for "
                + "example): ONNX Runtime answers \"Invalid input name\". Give the model inputs for an adapter (loragen apply "
                + "MODEL ADAPTER --inputs), and write the adapter with those names")
        misfits.lacksInputs = true
    }

    /// What hosts do, where it is not what the adapter states and no finding on the base model has said so.
    mutating func hosts(_ verdicts: [HostVerdict]) {
        if !misfits.isEmpty { return }
        for verdict in verdicts where verdict.outcome != .asStated {
            let what =
                switch verdict.outcome {
                case .refused: "refuses the adapter"
                case .partial: "leaves parts of the adapter out"
                default: "applies another scale than the adapter states"
                }
            add(.warning, "host", "\(verdict.host) \(what): \(verdict.reason)")
        }
    }
}

/// The parts in which two paths differ before they end alike, 'model.language_model.' and 'model.'; nil when their last two
/// parts differ, or nothing does.
private func otherPrefix(_ a: String, _ b: String) -> (String, String)? {
    var (left, right) = (a.split(separator: "."), b.split(separator: "."))
    var shared = 0
    while let last = left.last, last == right.last {
        left.removeLast()
        right.removeLast()
        shared += 1
    }
    // Another number is another layer, and not another prefix.
    guard shared >= 2, left != right, left.last.flatMap({ nameIndex($0) }) == nil else { return nil }
    func quoted(_ parts: [Substring]) -> String {
        parts.isEmpty ? "nothing" : "'" + parts.joined(separator: ".") + ".'"
    }
    return (quoted(left), quoted(right))
}
