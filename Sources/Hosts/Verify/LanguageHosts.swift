import Adapters
import Files
import Formats
import Tensor

/// The host of one of the rules below, for adapters of language models.
private func language(
    _ name: String, _ rule: @escaping @Sendable (HostRules) -> (String) -> HostVerdict
) -> Host {
    Host(name: name) { rules in rules.isOfLanguageModel ? rule(rules)(name) : nil }
}

let languageHosts = [
    Host(name: "PEFT 0.21", isLenient: true) { rules in
        if case .peft = rules.file { return rules.stated("PEFT 0.21") }
        return rules.isOfLanguageModel ? rules.stated("PEFT 0.21") : nil
    },
    language("vLLM 0.33", HostRules.vLLM),
    language("SGLang 0.5", HostRules.sgLang),
    language("TGI and LoRAX", HostRules.tgi),
    language("mistral.rs 0.9", HostRules.mistral),
    language("llama.cpp (convert_lora_to_gguf.py)", HostRules.llama),
]

let otherHosts = [
    Host(name: "llama.cpp") { rules in
        if case .gguf = rules.file { return rules.stated("llama.cpp") }
        return nil
    },
    Host(name: "ONNX Runtime 1.31") { rules in
        guard case .onnxAdapter = rules.file else { return nil }
        return rules.stated("ONNX Runtime 1.31", "for a model with these inputs (loragen apply --inputs, or Olive)")
    },
]

extension HostRules {
    private var largestRank: Int { modules.lazy.map(\.rank).max() ?? 0 }

    fileprivate func vLLM(_ host: String) -> HostVerdict {
        if let dora { return refused(host, "it does not take DoRA ('\(dora)')") }
        if let convolution { return refused(host, "'\(convolution)' is a convolution") }
        guard let limit = ([1] + PortableForm.ranks).first(where: { $0 >= largestRank }) else {
            return refused(host, "rank \(largestRank) is above 512; cut it")
        }
        return stated(host, limit > 16 ? "start it with --max-lora-rank \(limit); the default is 16" : "")
    }

    fileprivate func sgLang(_ host: String) -> HostVerdict {
        if let dora { return refused(host, "it does not take DoRA ('\(dora)')") }
        if let convolution { return refused(host, "'\(convolution)' is a convolution") }
        return applied(
            host, modules.map { _ in config.alpha / Double(config.rank) },
            because: "it reads lora_alpha / r alone, no use_rslora and no patterns")
    }

    fileprivate func tgi(_ host: String) -> HostVerdict {
        if let dora { return refused(host, "they do not take DoRA ('\(dora)')") }
        if let convolution { return refused(host, "'\(convolution)' is a convolution") }
        if let odd = module({ $0.rank != config.rank }) {
            return refused(host, "they stack layers, so all ranks must be \(config.rank); '\(odd)' has another")
        }
        let root = config.scaling == .rankStabilised ? Double(config.rank).squareRoot() : Double(config.rank)
        let verdict = applied(
            host, modules.map { _ in config.alpha / root }, because: "they read no alpha_pattern")
        if verdict.outcome != .asStated { return verdict }
        var present: [String: Set<Int>] = [:]
        for module in modules {
            guard let layer = module.layerIndex, let last = module.name.split(separator: ".").last else { continue }
            present[String(last), default: []].insert(layer)
        }
        let count = layerCount ?? (modules.compactMap(\.layerIndex).max() ?? -1) + 1
        let gaps = present.filter { $0.value.count < count }.keys.sorted(by: precedes)
        if gaps.isEmpty { return verdict }
        return HostVerdict(
            host: host, outcome: .partial, scale: verdict.scale,
            reason:
                "a kind of module that one of the \(count) layers lacks is left out in all: \(gaps.joined(separator: ", ")). "
                + "Write the adapter with --portable --layers \(count), which fills them with zeros")
    }

    fileprivate func mistral(_ host: String) -> HostVerdict {
        if let dora { return refused(host, "it does not take DoRA ('\(dora)')") }
        if let convolution { return refused(host, "'\(convolution)' is a convolution") }
        if let odd = module({ $0.kind == .embedding || $0.name == "lm_head" || $0.name.hasSuffix(".lm_head") }) {
            return refused(host, "it takes neither embeddings nor lm_head ('\(odd)'); leave them out")
        }
        return stated(host)
    }

    fileprivate func llama(_ host: String) -> HostVerdict {
        if let dora { return refused(host, "it does not take DoRA ('\(dora)')") }
        if let convolution { return refused(host, "'\(convolution)' is a convolution") }
        if tiesEmbeddings, let head = module({ $0.name == "lm_head" || $0.name.hasSuffix(".lm_head") }) {
            return refused(host, "the model has no output layer of its own for '\(head)'; leave it out")
        }
        return applied(
            host, modules.map { config.alpha / Double($0.rank) },
            because: "its converter reads neither use_rslora nor alpha_pattern")
    }
}
