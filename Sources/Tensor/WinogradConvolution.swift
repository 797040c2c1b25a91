import CKernels

/// Convolutions of stride 1 with fewer multiplications. Like `DirectConvolution`, cut by the geometry and batch alone.
struct WinogradConvolution {
    let geometry: lk_conv
    let plan: lk_winograd_plan

    /// nil where this way does not pay.
    init?(_ geometry: lk_conv, plan: (UnsafePointer<lk_conv>) -> lk_winograd_plan) {
        self.geometry = geometry
        self.plan = withUnsafePointer(to: geometry) { plan($0) }
        if self.plan.strips == 0 { return nil }
    }

    private var chunks: Int { (plan.strips + plan.chunk - 1) / plan.chunk }

    func forward(
        batch: Int, _ x: UnsafePointer<Float>, _ weight: UnsafePointer<Float>, bias: UnsafePointer<Float>?,
        _ y: UnsafeMutablePointer<Float>, fused: DirectConvolution.Fusion<Float>?
    ) {
        let (inputs, outputs) = (geometry.inputs, geometry.outputs)
        let packed = Storage<Float>(count: 8 * inputs * outputs)
        defer { withExtendedLifetime(packed) {} }
        withUnsafePointer(to: geometry) { geometry in
            Threads.over(outputs, grain: max(8, (1 << 12) / inputs / 8 * 8)) { first, n in
                lk_winograd_pack(geometry, weight, packed.base, first, first + n)
            }
            Threads.parallelFor(batch * chunks) { index in
                let (sample, first) = (index / chunks, index % chunks * plan.chunk)
                let scratch = Storage<Float>(count: plan.scratch)
                defer { withExtendedLifetime(scratch) {} }
                var fusion = fused?.settings(sample: sample, extent: geometry.pointee.inputExtent) ?? lk_conv_fusion()
                lk_winograd_forward(
                    geometry, packed.base, bias, x + sample * inputs * geometry.pointee.inputExtent,
                    y + sample * outputs * geometry.pointee.outputExtent, first, min(plan.chunk, plan.strips - first),
                    scratch.base, &fusion)
            }
        }
    }

    /// Samples and chunks are cut into at most 8 groups, whose sums are added in order.
    func weightGradient(
        batch: Int, _ fine: UnsafePointer<Float>, _ coarse: UnsafePointer<Float>,
        _ dweight: UnsafeMutablePointer<Float>
    ) {
        let (inputs, outputs) = (geometry.inputs, geometry.outputs)
        let (work, size) = (batch * chunks, 8 * inputs * outputs)
        let wanted = min(work, 8, max(2, (1 << 22) / size))
        let perGroup = (work + wanted - 1) / wanted
        let groups = (work + perGroup - 1) / perGroup
        let partial = Storage<Float>(count: groups * size)
        defer { withExtendedLifetime(partial) {} }
        withUnsafePointer(to: geometry) { geometry in
            Threads.parallelFor(groups) { group in
                let scratch = Storage<Float>(count: plan.scratch)
                defer { withExtendedLifetime(scratch) {} }
                let start = group * perGroup
                for unit in start..<min(work, start + perGroup) {
                    let (sample, first) = (unit / chunks, unit % chunks * plan.chunk)
                    lk_winograd_gradient_sums(
                        geometry, fine + sample * inputs * geometry.pointee.inputExtent,
                        coarse + sample * outputs * geometry.pointee.outputExtent, partial.base + group * size, first,
                        min(plan.chunk, plan.strips - first), unit > start, scratch.base)
                }
            }
            let sums = groups == 1 ? partial : Storage<Float>(count: size)
            if groups > 1 { lk_sum_middle(LK_F32, 1, groups, size, partial.base, sums.base) }
            Threads.over(outputs, grain: max(1, (1 << 12) / inputs)) { first, n in
                lk_winograd_gradient(geometry, sums.base, dweight, first, first + n)
            }
            withExtendedLifetime(sums) {}
        }
    }
}
