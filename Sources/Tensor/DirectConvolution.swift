import CKernels

/// Convolutions over one dimension and their derivatives, without unfolding. How the work is cut into chunks depends on
/// the geometry and the batch alone.
struct DirectConvolution {
    let geometry: lk_conv

    private var weightCount: Int { geometry.inputs * geometry.outputs * geometry.kernel }

    /// y [batch, outputs, outputExtent] from x [batch, inputs, inputExtent]
    func forward<E: Element>(
        batch: Int, _ x: UnsafePointer<E>, _ weight: UnsafePointer<E>, bias: UnsafePointer<E>?,
        _ y: UnsafeMutablePointer<E>
    ) {
        if batch * geometry.outputs * geometry.outputExtent == 0 { return }
        var geometry = geometry
        let plan = lk_conv_planned(&geometry)
        let packed = Storage<E>(count: weightCount)
        defer { withExtendedLifetime(packed) {} }
        withUnsafePointer(to: geometry) { geometry in
            let channels = geometry.pointee.outputs
            let packs = DirectConvolution.rows(channels, parts: weightCount / (1 << 15) + 1)
            Threads.over(channels, grain: packs) { first, n in
                lk_conv_pack(E.kind, geometry, weight, packed.base, first, first + n)
            }
            // Samples and tiles, and channels too where those are few
            let work = batch * plan.tiles
            let rows = DirectConvolution.rows(channels, parts: (8 + work - 1) / work)
            let groups = (channels + rows - 1) / rows
            Threads.parallelFor(work * groups) { chunk in
                let (sample, tile, group) = (chunk / groups / plan.tiles, chunk / groups % plan.tiles, chunk % groups)
                let scratch = Storage<E>(count: plan.scratch)
                defer { withExtendedLifetime(scratch) {} }
                let first = tile * plan.positions
                lk_conv_forward(
                    E.kind, geometry, packed.base, bias,
                    x + sample * geometry.pointee.inputs * geometry.pointee.inputExtent,
                    y + sample * channels * geometry.pointee.outputExtent, first,
                    min(plan.positions, plan.span - first), group * rows, min(channels, (group + 1) * rows),
                    scratch.base)
            }
        }
    }

    /// dweight [outputs, inputs, kernel] = the sum over the batch of coarse [batch, outputs, outputExtent] times shifted
    /// fine [batch, inputs, inputExtent]. Samples and tiles are cut into at most 8 groups, summed in order.
    func weightGradient<E: Element>(
        batch: Int, _ fine: UnsafePointer<E>, _ coarse: UnsafePointer<E>, _ dweight: UnsafeMutablePointer<E>
    ) {
        var geometry = geometry
        let plan = lk_conv_planned_gradient(&geometry)
        let (size, channels) = (weightCount, geometry.outputs)
        let work = batch * plan.tiles
        let wanted = min(work, 8, max(1, (1 << 20) / max(1, size)))
        let perGroup = max(1, (work + max(1, wanted) - 1) / max(1, wanted))
        let groups = max(1, (work + perGroup - 1) / perGroup)
        let rows = DirectConvolution.rows(channels, parts: (8 + groups - 1) / groups)
        let parts = (channels + rows - 1) / rows
        let partial = groups == 1 ? nil : Storage<E>(count: groups * size)
        defer { withExtendedLifetime(partial) {} }
        let target = partial?.base ?? dweight
        withUnsafePointer(to: geometry) { geometry in
            Threads.parallelFor(groups * parts) { chunk in
                let (group, first) = (chunk / parts, chunk % parts * rows)
                let last = min(channels, first + rows)
                let each = geometry.pointee.inputs * geometry.pointee.kernel
                let to = target + group * size
                lk_fill(E.kind, (last - first) * each, 0, to + first * each)
                let scratch = Storage<E>(count: plan.scratch)
                defer { withExtendedLifetime(scratch) {} }
                for unit in group * perGroup..<min(work, (group + 1) * perGroup) {
                    let (sample, position) = (unit / plan.tiles, unit % plan.tiles * plan.positions)
                    lk_conv_weight_gradient(
                        E.kind, geometry, fine + sample * geometry.pointee.inputs * geometry.pointee.inputExtent,
                        coarse + sample * channels * geometry.pointee.outputExtent, to, position,
                        min(plan.positions, plan.span - position), first, last, scratch.base)
                }
            }
        }
        if let partial { lk_sum_middle(E.kind, 1, groups, size, partial.base, dweight) }
    }

    /// `channels` in about this many parts of a multiple of 8
    private static func rows(_ channels: Int, parts: Int) -> Int {
        max(8, (channels + 8 * parts - 1) / (8 * parts) * 8)
    }
}
