import CKernels

/// The geometry of a convolution between a fine grid (its input) and a coarse one (its output); a transposed
/// convolution runs the other way. One product per block of positions: weight [out, in * taps] times the unfolded
/// input [in * taps, positions].
struct Sweep {
    let batch: Int
    /// Channels, extents and strides of the fine side.
    let window: lk_window
    /// Channels of the coarse side.
    let coarseChannels: Int

    var fineChannels: Int { window.channels }
    var fineCount: Int { window.channels * window.height * window.width }
    var positions: Int { window.outH * window.outW }
    var taps: Int { window.kernelH * window.kernelW }
    /// Rows of the unfolded fine side.
    var depth: Int { fineChannels * taps }
    var coarseCount: Int { coarseChannels * positions }

    /// Positions unfolded at a time: about 128 K elements, so that they stay in the second-level cache.
    var block: Int { min(positions, max(64, (1 << 17) / max(1, depth) / 16 * 16)) }
    var blocks: Int { positions == 0 ? 0 : (positions + block - 1) / block }

    /// coarse [batch, coarseChannels, positions] = weight [coarseChannels, depth] unfold(fine) + bias
    func gather<E: Element>(
        _ fine: UnsafePointer<E>, _ weight: UnsafePointer<E>, bias: UnsafePointer<E>?,
        _ coarse: UnsafeMutablePointer<E>
    ) {
        if isLine { return direct(transposed: false).forward(batch: batch, fine, weight, bias: bias, coarse) }
        gatherUnfolded(
            fine, MatrixView(base: weight, pitch: depth, transposed: false), bias: bias, coarse)
    }

    /// fine [batch, fineChannels, extents] = fold(weight [coarseChannels, depth] transposed times coarse) + bias
    func scatter<E: Element>(
        _ coarse: UnsafePointer<E>, _ weight: UnsafePointer<E>, bias: UnsafePointer<E>?,
        _ fine: UnsafeMutablePointer<E>
    ) {
        if isLine { return direct(transposed: true).forward(batch: batch, coarse, weight, bias: bias, fine) }
        scatterUnfolded(
            coarse, MatrixView(base: weight, pitch: depth, transposed: false), bias: bias, fine)
    }

    /// dweight [coarseChannels, depth] = sum over the batch of coarse times unfold(fine) transposed
    func weightGradient<E: Element>(
        _ fine: UnsafePointer<E>, _ coarse: UnsafePointer<E>, _ dweight: UnsafeMutablePointer<E>
    ) {
        if isLine { return direct(transposed: false).weightGradient(batch: batch, fine, coarse, dweight) }
        weightGradientUnfolded(fine, coarse, dweight)
    }

    private var isLine: Bool { window.height == 1 && window.kernelH == 1 && window.padH == 0 && window.outH == 1 }

    private func direct(transposed: Bool) -> DirectConvolution {
        let (fine, coarse) = ((window.channels, window.width), (coarseChannels, window.outW))
        let (from, to) = transposed ? (coarse, fine) : (fine, coarse)
        return DirectConvolution(
            geometry: lk_conv(
                inputs: from.0, inputExtent: from.1, outputs: to.0, outputExtent: to.1, kernel: window.kernelW,
                stride: window.strideW, padding: window.padW, transposed: transposed))
    }

    private func gatherUnfolded<E: Element>(
        _ fine: UnsafePointer<E>, _ weight: MatrixView<E>, bias: UnsafePointer<E>?, _ coarse: UnsafeMutablePointer<E>
    ) {
        Threads.parallelFor(batch * blocks) { chunk in
            let (b, first) = (chunk / blocks, chunk % blocks * block)
            let n = min(block, positions - first)
            let columns = Storage<E>(count: depth * n)
            defer { withExtendedLifetime(columns) {} }
            unfold(fine + b * fineCount, columns.base, first, n)
            let to = coarse + b * coarseCount + first
            if let bias {
                for c in 0..<coarseChannels { lk_fill(E.kind, n, Double(bias[c]), to + c * positions) }
            }
            product(
                coarseChannels, n, depth, weight, MatrixView(base: columns.base, pitch: n, transposed: false), to,
                pitch: positions, accumulate: bias != nil)
        }
    }

    private func scatterUnfolded<E: Element>(
        _ coarse: UnsafePointer<E>, _ weight: MatrixView<E>, bias: UnsafePointer<E>?, _ fine: UnsafeMutablePointer<E>
    ) {
        let extent = window.height * window.width
        Threads.parallelFor(batch) { b in
            let to = fine + b * fineCount
            for c in 0..<fineChannels { lk_fill(E.kind, extent, bias.map { Double($0[c]) } ?? 0, to + c * extent) }
            let columns = Storage<E>(count: depth * block)
            defer { withExtendedLifetime(columns) {} }
            for first in stride(from: 0, to: positions, by: block) {
                let n = min(block, positions - first)
                product(
                    depth, n, coarseChannels, weight.flipped,
                    MatrixView(base: coarse + b * coarseCount + first, pitch: positions, transposed: false),
                    columns.base, pitch: n)
                fold(columns.base, to, first, n)
            }
        }
    }

    /// The batch is cut into at most 8 groups, summed in order.
    private func weightGradientUnfolded<E: Element>(
        _ fine: UnsafePointer<E>, _ coarse: UnsafePointer<E>, _ dweight: UnsafeMutablePointer<E>
    ) {
        let work = batch * blocks
        let perGroup = max(1, (work + 7) / 8)
        let groups = max(1, (work + perGroup - 1) / perGroup)
        let size = coarseChannels * depth
        let partial = Storage<E>(count: groups * size)
        defer { withExtendedLifetime(partial) {} }
        Threads.parallelFor(groups) { group in
            let to = partial.base + group * size
            lk_fill(E.kind, size, 0, to)
            let columns = Storage<E>(count: depth * block)
            defer { withExtendedLifetime(columns) {} }
            for chunk in group * perGroup..<min(work, (group + 1) * perGroup) {
                let (b, first) = (chunk / blocks, chunk % blocks * block)
                let n = min(block, positions - first)
                unfold(fine + b * fineCount, columns.base, first, n)
                product(
                    coarseChannels, depth, n,
                    MatrixView(base: coarse + b * coarseCount + first, pitch: positions, transposed: false),
                    MatrixView(base: columns.base, pitch: n, transposed: true), to, pitch: depth, accumulate: true)
            }
        }
        lk_sum_middle(E.kind, 1, groups, size, partial.base, dweight)
    }

    private func unfold<E: Element>(_ x: UnsafePointer<E>, _ columns: UnsafeMutablePointer<E>, _ first: Int, _ n: Int) {
        withUnsafePointer(to: window) { lk_unfold(E.kind, $0, x, columns, first, first + n) }
    }
    private func fold<E: Element>(_ columns: UnsafePointer<E>, _ x: UnsafeMutablePointer<E>, _ first: Int, _ n: Int) {
        withUnsafePointer(to: window) { lk_fold_add(E.kind, $0, columns, x, first, first + n) }
    }
}

extension Sweep {
    /// One dimension, from the extents of the fine and the coarse side.
    init(batch: Int, fine: (Int, Int), coarse: (Int, Int), kernel: Int, stride: Int, padding: Int) {
        self.batch = batch
        coarseChannels = coarse.0
        window = lk_window(
            channels: fine.0, height: 1, width: fine.1, kernelH: 1, kernelW: kernel, strideH: 1, strideW: stride,
            padH: 0, padW: padding, outH: 1, outW: coarse.1)
    }
}

private func checkBias<E>(_ bias: Tensor<E>?, _ channels: Int) {
    precondition(bias.map { $0.shape == [channels] } ?? true, "bias \(bias!.shape) for \(channels) channels")
}

/// A convolution (fine to coarse) and its derivatives.
private func convolve<E: Element>(
    _ sweep: Sweep, _ x: Tensor<E>, _ weight: Tensor<E>, _ bias: Tensor<E>?, shape: [Int]
) -> Tensor<E> {
    checkBias(bias, sweep.coarseChannels)
    let result = Tensor<E>.make(shape) {
        sweep.gather(x.storage.base, weight.storage.base, bias: bias?.storage.base, $0)
    }
    guard Tensor.isTracked(x, weight, bias) else { return result }
    let (input, w) = (x.detached(), weight.detached())
    return result.recorded(from: [x, weight, bias]) { g, inputs in
        inputs[0]?.accumulate(Tensor.make(input.shape) { sweep.scatter(g.storage.base, w.storage.base, bias: nil, $0) })
        inputs[1]?.accumulate(
            Tensor.make(w.shape) { sweep.weightGradient(input.storage.base, g.storage.base, $0) })
        inputs[2]?.accumulate(g.channelSums())
    }
}

/// The adjoint of a convolution (coarse to fine) and its derivatives.
private func convolveTransposed<E: Element>(
    _ sweep: Sweep, _ x: Tensor<E>, _ weight: Tensor<E>, _ bias: Tensor<E>?, shape: [Int]
) -> Tensor<E> {
    checkBias(bias, sweep.fineChannels)
    let result = Tensor<E>.make(shape) {
        sweep.scatter(x.storage.base, weight.storage.base, bias: bias?.storage.base, $0)
    }
    guard Tensor.isTracked(x, weight, bias) else { return result }
    let (input, w) = (x.detached(), weight.detached())
    return result.recorded(from: [x, weight, bias]) { g, inputs in
        inputs[0]?.accumulate(Tensor.make(input.shape) { sweep.gather(g.storage.base, w.storage.base, bias: nil, $0) })
        inputs[1]?.accumulate(
            Tensor.make(w.shape) { sweep.weightGradient(g.storage.base, input.storage.base, $0) })
        inputs[2]?.accumulate(g.channelSums())
    }
}

extension Tensor {
    /// Sums over batch and positions of [B, C, ...].
    fileprivate func channelSums() -> Tensor { sum(axes: Array(0..<rank).filter { $0 != 1 }) }
}

private func coarseExtent(_ fine: Int, _ kernel: Int, _ stride: Int, _ padding: Int) -> Int {
    (fine + 2 * padding - kernel) / stride + 1
}

/// x [B, C, L], weight [O, C, k], bias [O] to [B, O, (L + 2 padding - k) / stride + 1].
public func conv1d<E: Element>(
    _ x: Tensor<E>, weight: Tensor<E>, bias: Tensor<E>? = nil, stride: Int = 1, padding: Int = 0
) -> Tensor<E> {
    precondition(
        x.rank == 3 && weight.rank == 3 && x.shape[1] == weight.shape[1],
        "conv1d of \(x.shape) with weight \(weight.shape)")
    let kernel = weight.shape[2]
    precondition(x.shape[2] + 2 * padding >= kernel, "conv1d of \(x.shape), padding \(padding), kernel \(kernel)")
    let out = coarseExtent(x.shape[2], kernel, stride, padding)
    let sweep = Sweep(
        batch: x.shape[0], fine: (x.shape[1], x.shape[2]), coarse: (weight.shape[0], out), kernel: kernel,
        stride: stride, padding: padding)
    return convolve(sweep, x, weight, bias, shape: [x.shape[0], weight.shape[0], out])
}

/// x [B, C, L], weight [C, O, k], bias [O] to [B, O, (L - 1) stride - 2 padding + k + outputPadding].
public func convTranspose1d<E: Element>(
    _ x: Tensor<E>, weight: Tensor<E>, bias: Tensor<E>? = nil, stride: Int = 1, padding: Int = 0,
    outputPadding: Int = 0
) -> Tensor<E> {
    precondition(
        x.rank == 3 && weight.rank == 3 && x.shape[1] == weight.shape[0] && x.shape[2] > 0,
        "convTranspose1d of \(x.shape) with weight \(weight.shape)")
    precondition(outputPadding < stride, "output padding \(outputPadding) with stride \(stride)")
    let kernel = weight.shape[2]
    let out = (x.shape[2] - 1) * stride - 2 * padding + kernel + outputPadding
    precondition(out > 0, "convTranspose1d of \(x.shape), padding \(padding), kernel \(kernel)")
    let sweep = Sweep(
        batch: x.shape[0], fine: (weight.shape[1], out), coarse: (x.shape[1], x.shape[2]), kernel: kernel,
        stride: stride, padding: padding)
    return convolveTransposed(sweep, x, weight, bias, shape: [x.shape[0], weight.shape[1], out])
}

/// x [B, C, H, W], weight [O, C, kh, kw], bias [O]; one stride and padding for both dimensions.
public func conv2d<E: Element>(
    _ x: Tensor<E>, weight: Tensor<E>, bias: Tensor<E>? = nil, stride: Int = 1, padding: Int = 0
) -> Tensor<E> {
    precondition(
        x.rank == 4 && weight.rank == 4 && x.shape[1] == weight.shape[1],
        "conv2d of \(x.shape) with weight \(weight.shape)")
    let (kh, kw) = (weight.shape[2], weight.shape[3])
    precondition(
        x.shape[2] + 2 * padding >= kh && x.shape[3] + 2 * padding >= kw,
        "conv2d of \(x.shape), padding \(padding), weight \(weight.shape)")
    let (h, w) = (coarseExtent(x.shape[2], kh, stride, padding), coarseExtent(x.shape[3], kw, stride, padding))
    let window = lk_window(
        channels: x.shape[1], height: x.shape[2], width: x.shape[3], kernelH: kh, kernelW: kw, strideH: stride,
        strideW: stride, padH: padding, padW: padding, outH: h, outW: w)
    let sweep = Sweep(batch: x.shape[0], window: window, coarseChannels: weight.shape[0])
    return convolve(sweep, x, weight, bias, shape: [x.shape[0], weight.shape[0], h, w])
}
