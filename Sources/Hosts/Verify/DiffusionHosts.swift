import Adapters
import Files
import Formats
import Tensor

let diffusionHosts = [
    Host(name: "diffusers 0.42", isLenient: true) { rules in
        switch rules.file {
        case .diffusers: rules.stated("diffusers 0.42")
        case .kohya(let hasAlphas):
            rules.kohyaInDiffusers("diffusers 0.42", rules.diffusionNames, hasAlphas)
        default: nil
        }
    },
    Host(name: "ComfyUI", isLenient: true) { rules in
        switch rules.file {
        case .diffusers: rules.comfy("ComfyUI", rules.diffusionNames)
        case .kohya: rules.stated("ComfyUI")
        case .peft where rules.isOfDiffusion: rules.comfy("ComfyUI", rules.diffusionNames)
        default: nil
        }
    },
]

extension HostRules {
    fileprivate func kohyaInDiffusers(
        _ host: String, _ names: [DiffusionName], _ hasAlphas: Bool
    ) -> HostVerdict {
        guard hasAlphas, DiffusionModel.of(adapter.layout, names) != .flux else { return stated(host) }
        let counts = Dictionary(grouping: modules.map(\.alpha), by: \.self).mapValues(\.count)
        let common = counts.max { $0.value == $1.value ? $0.key < $1.key : $0.value < $1.value }?.key ?? 1
        let attention: Set<Substring> = ["attn1", "attn2", "self_attn"]
        let scales: [Double] = zip(modules, names).map { module, name in
            let isAttention = !attention.isDisjoint(with: name.path.split(separator: "."))
            return isAttention ? common / Double(module.rank) : module.scale
        }
        return applied(host, scales, because: "it gives attention the most common alpha of the file, \(common)")
    }

    fileprivate func comfy(_ host: String, _ names: [DiffusionName]) -> HostVerdict {
        if names.contains(where: { $0.component == .unet }) {
            return refused(host, "it knows UNets by kohya's names alone; write --format kohya")
        }
        return applied(
            host, modules.map { _ in 1 }, because: "it takes alpha as the rank where a file has no alphas")
    }
}
