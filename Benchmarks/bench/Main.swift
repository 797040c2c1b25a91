import CKernels
import CPeak
import Glibc
import NN
import Tensor

// bench ROW: sets the work up and does what the lines of standard input ask for: a number N, run it N times and print the
// seconds of each; "memory", "peak" or "level", print that; a path, write what the work computes to it. An empty line ends.

@main enum Bench {
    static func main() {
        if let text = getenv("BENCH_THREADS"), let count = Int(String(cString: text)) { Threads.count = count }
        let row = CommandLine.arguments.count > 1 ? CommandLine.arguments[1] : ""
        guard let work = Work.named(row) else {
            say("unknown")
            return
        }
        say("ready")
        while let line = readLine(), !line.isEmpty {
            if let count = Int(line) {
                let times = (0..<count).map { _ in
                    let start = peak_seconds()
                    work.run()
                    return peak_seconds() - start
                }
                say(times.map { "\($0)" }.joined(separator: " "))
            } else if line == "memory" {
                say("\(peak_memory())")
            } else if line == "level" {
                say(String(cString: lk_instruction_set()))
            } else if line == "peak" {
                say("\(Peak.flops()) \(Peak.bandwidth())")
            } else {
                save(work.result(), to: line)
                say("saved")
            }
        }
    }

    /// One line, at once.
    static func say(_ line: String) {
        print(line)
        fflush(nil)
    }

    static func save(_ tensors: [Tensor<Float>], to path: String) {
        guard let file = fopen(path, "w") else { return }
        for tensor in tensors { tensor.withUnsafeBytes { _ = fwrite($0.baseAddress, 1, $0.count, file) } }
        fclose(file)
    }
}

enum Peak {
    /// GFLOP/s of all threads together
    static func flops() -> Double {
        let rates = UnsafeMutablePointer<Double>.allocate(capacity: 16)
        defer { rates.deallocate() }
        let count = Threads.count
        Threads.parallelFor(count) { rates[$0] = peak_flops(300) }
        return (0..<count).reduce(0) { $0 + rates[$1] }
    }

    /// GB/s read from memory by all threads together
    static func bandwidth() -> Double {
        let x = Tensor<Float>.full([1 << 27], 1)
        return x.withUnsafeBufferPointer { x in
            guard let base = x.baseAddress else { return 0 }
            let part = x.count / 64
            return (0..<5).map { _ in
                let start = peak_seconds()
                Threads.parallelFor(64) { _ = peak_read(base + $0 * part, part) }
                return Double(x.count * 4) / (peak_seconds() - start) * 1e-9
            }.max() ?? 0
        }
    }
}

struct Work {
    let run: () -> Void
    /// What both sides are compared by
    let result: () -> [Tensor<Float>]

    static func named(_ row: String) -> Work? {
        let parts = row.split(separator: "-").map(String.init)
        let number = parts.count > 1 ? Int(parts[1]) ?? 0 : 0
        switch parts.first {
        case "peak": return Work(run: {}, result: { [] })
        case "sgemm": return sgemm(number)
        case "linear": return linearRow(number)
        case "conv": return convolution(parts.dropFirst().compactMap { Int($0) }, backward: parts.last ?? "")
        case "autoencoder": return autoencoder()
        case "rpg": return recurrentDiffusion()
        case "gpt": return parts.last == "train" ? gptTraining() : gptDecoding()
        case "bert": return bert()
        case "denoiser": return parts.count > 1 && parts[1] == "train" ? denoiserTraining() : denoiserSampling()
        default: return nil
        }
    }

    static func sgemm(_ n: Int) -> Work {
        let (a, b) = (hashed([n, n], seed: 1), hashed([n, n], seed: 2))
        return Work(run: { _ = a.matmul(b) }, result: { [a.matmul(b)] })
    }

    static func linearRow(_ rows: Int) -> Work {
        let (x, w) = (hashed([rows, 1024], seed: 1), hashed([4096, 1024], seed: 2))
        return Work(run: { _ = linear(x, weight: w) }, result: { [linear(x, weight: w)] })
    }

    /// conv-INPUTS-OUTPUTS-LENGTH-KERNEL-STRIDE-BATCH[-x|-w|-t]: forward, gradient of the input or of the weight, or
    /// transposed
    static func convolution(_ n: [Int], backward: String) -> Work {
        let transposed = backward == "t"
        var x = hashed([n[5], n[0], n[2]], seed: 1)
        var w = hashed(transposed ? [n[0], n[1], n[3]] : [n[1], n[0], n[3]], seed: 2)
        if backward == "x" { x = x.requiringGradient() }
        if backward == "w" { w = w.requiringGradient() }
        let f = {
            transposed
                ? convTranspose1d(x, weight: w, stride: n[4])
                : conv1d(x, weight: w, stride: n[4], padding: n[3] / 2)
        }
        let g = hashed(f().shape, seed: 3)
        let backwards = backward == "x" || backward == "w"
        func run() -> Tensor<Float> {
            let y = f()
            if backwards { (y * g).sum().backward() }
            return (backward == "x" ? x.gradient : backward == "w" ? w.gradient : nil) ?? y.detached()
        }
        return Work(run: { _ = run() }, result: { [run()] })
    }

    /// A step of training; what is compared is the loss and all gradients of the first.
    static func training(_ model: some Module<Float>, _ loss: @escaping () -> Tensor<Float>) -> Work {
        let optimiser = AdamW(model.namedParameters)
        func differentiate() -> Tensor<Float> {
            let value = loss()
            value.backward()
            return value.detached()
        }
        return Work(
            run: {
                _ = differentiate()
                optimiser.step(rate: 1e-5)
                optimiser.clearGradients()
            },
            result: {
                let value = differentiate()
                defer { optimiser.clearGradients() }
                return [value] + model.parameters.map { $0.gradient ?? .zeros($0.shape) }
            })
    }

    static func autoencoder() -> Work {
        let model = Autoencoder()
        model.setHashed()
        let count = 73_728
        let (x, noise) = (hashed([8, count], seed: 1), hashed([8, count], seed: 2))
        let latent = hashed([8, 468], seed: 3)
        return training(model) { model.loss(x, noise, latent) }
    }

    static func denoiserInputs() -> (Denoiser, Tensor<Float>, [Double], Tensor<Float>) {
        let model = Denoiser(tokenSize: 4096, conditionSize: 4096)
        model.setHashed()
        return (
            model, hashed([64, 4096], seed: 1), (0..<64).map { Double($0 * 15) }, hashed([64, 4096], seed: 2)
        )
    }

    static func denoiserTraining() -> Work {
        let (model, x, times, condition) = denoiserInputs()
        let noise = hashed([64, 4096], seed: 3)
        return training(model) { mseLoss(model(x, times, condition), noise) }
    }

    static func denoiserSampling() -> Work {
        let (model, x, times, condition) = denoiserInputs()
        model.setTraining(false)
        return Work(
            run: { _ = model.infer(x, times, condition) }, result: { [model.infer(x, times, condition)] })
    }
}
