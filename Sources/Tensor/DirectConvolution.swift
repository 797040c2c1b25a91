import CKernels

/// Convolutions over one dimension and their derivatives, without unfolding. How the work is cut into chunks depends on
/// the geometry and the batch alone.
struct DirectConvolution {
    let geometry: lk_conv

    /// What a convolution does on the way: x to (x + add) * multiply, both [batch, inputExtent], and then a function.
    struct Fusion<E: Element> {
        let add: UnsafePointer<E>?
        let multiply: UnsafePointer<E>?
        let activation: FusedActivation?

        func settings(sample: Int, extent: Int) -> lk_conv_fusion {
            let (op, p) = activation?.operation ?? (LK_AFFINE, 0)
            return lk_conv_fusion(
                add: add.map { UnsafeRawPointer($0 + sample * extent) },
                multiply: multiply.map { UnsafeRawPointer($0 + sample * extent) }, activated: activation != nil,
                activation: op, p: p)
        }
    }

    private var weightCount: Int { geometry.inputs * geometry.outputs * geometry.kernel }

    /// y [batch, outputs, outputExtent] from x [batch, inputs, inputExtent]
    func forward<E: Element>(
        batch: Int, _ x: UnsafePointer<E>, _ weight: UnsafePointer<E>, bias: UnsafePointer<E>?,
        _ y: UnsafeMutablePointer<E>, fused: Fusion<E>? = nil
    ) {
        if batch * geometry.outputs * geometry.outputExtent == 0 { return }
        if E.self == Float.self, let winograd = WinogradConvolution(geometry, plan: lk_winograd_planned) {
            return winograd.forward(
                batch: batch, raw(x), raw(weight), bias: bias.map(raw), raw(y), fused: fused as? Fusion<Float>)
        }
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
                var fusion = fused?.settings(sample: sample, extent: geometry.pointee.inputExtent) ?? lk_conv_fusion()
                lk_conv_forward(
                    E.kind, geometry, packed.base, bias,
                    x + sample * geometry.pointee.inputs * geometry.pointee.inputExtent,
                    y + sample * channels * geometry.pointee.outputExtent, first,
                    min(plan.positions, plan.span - first), group * rows, min(channels, (group + 1) * rows),
                    scratch.base, &fusion)
            }
        }
    }

    /// dweight [outputs, inputs, kernel] = the sum over the batch of coarse [batch, outputs, outputExtent] times shifted
    /// fine [batch, inputs, inputExtent]. Samples and tiles are cut into at most 8 groups, summed in order.
    func weightGradient<E: Element>(
        batch: Int, _ fine: UnsafePointer<E>, _ coarse: UnsafePointer<E>, _ dweight: UnsafeMutablePointer<E>
    ) {
        if E.self == Float.self, batch > 0,
            let winograd = WinogradConvolution(geometry, plan: lk_winograd_planned_gradient)
        {
            return winograd.weightGradient(batch: batch, raw(fine), raw(coarse), raw(dweight))
        }
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

/// A function that a convolution applies to its result while that is in the cache.
public enum FusedActivation: Sendable {
    case relu, silu
    case leakyReLU(slope: Double)
    case elu(alpha: Double)

    var operation: (lk_unary_op, Double) {
        switch self {
        case .relu: (LK_RELU, 0)
        case .silu: (LK_SILU, 0)
        case .leakyReLU(let slope): (LK_LEAKY_RELU, slope)
        case .elu(let alpha): (LK_ELU, alpha)
        }
    }
}

/// activation(conv1d((x + add) * multiply)) in one pass, for sampling: nothing is recorded for differentiation. x
/// [B, C, L], weight [O, C, k], bias [O]; add and multiply [B, L], the same for all channels, both or neither.
public func inferConv1d<E: Element>(
    _ x: Tensor<E>, weight: Tensor<E>, bias: Tensor<E>? = nil, padding: Int = 0, add: Tensor<E>? = nil,
    multiply: Tensor<E>? = nil, activation: FusedActivation? = nil
) -> Tensor<E> {
    precondition(
        x.rank == 3 && weight.rank == 3 && x.shape[1] == weight.shape[1],
        "inferConv1d of \(x.shape) with weight \(weight.shape)")
    let (batch, length, kernel) = (x.shape[0], x.shape[2], weight.shape[2])
    let out = length + 2 * padding - kernel + 1
    precondition(out > 0, "inferConv1d of \(x.shape), padding \(padding), kernel \(kernel)")
    precondition(bias.map { $0.shape == [weight.shape[0]] } ?? true, "bias of inferConv1d for weight \(weight.shape)")
    precondition(
        (add == nil) == (multiply == nil) && (add?.shape ?? [batch, length]) == [batch, length]
            && (multiply?.shape ?? [batch, length]) == [batch, length],
        "inferConv1d of \(x.shape): add and multiply must be [\(batch), \(length)], both or neither")
    let direct = DirectConvolution(
        geometry: lk_conv(
            inputs: x.shape[1], inputExtent: length, outputs: weight.shape[0], outputExtent: out, kernel: kernel,
            stride: 1, padding: padding, transposed: false))
    let fusion = DirectConvolution.Fusion<E>(
        add: add.map { UnsafePointer($0.storage.base) }, multiply: multiply.map { UnsafePointer($0.storage.base) },
        activation: activation)
    return withExtendedLifetime((add, multiply, bias)) {
        Tensor<E>.make([batch, weight.shape[0], out]) {
            direct.forward(
                batch: batch, x.storage.base, weight.storage.base, bias: bias?.storage.base, $0, fused: fusion)
        }
    }
}
