import Adapters
import Files
import Formats
import Generators
import Glibc
import Learning
import Tensor

// One measurement a process, so that its peak of memory is its own; Benchmarks/scale.py runs them and draws the result.
//   scale corpus FOLDER RANK LAYERS MAGNITUDES COUNT           made-up adapters of LLaMA-7B's shapes
//   scale train FOLDER GENERATOR PRESET SETTINGS STEPS         that many steps, then the training is cancelled
//   scale untrained RANK LAYERS MAGNITUDES GENERATOR PRESET SETTINGS
//   scale sample GENERATOR ADAPTER MEMORY STEPS SECONDS        one adapter, streamed; cancelled after so many seconds

/// q, k, v, up and down projections, hidden 4096, feed-forward 11008.
func layout(rank: Int, layers: Int, magnitudes: Bool) throws -> Layout {
    let shapes = [
        ("self_attn.q_proj", 4096, 4096), ("self_attn.k_proj", 4096, 4096), ("self_attn.v_proj", 4096, 4096),
        ("mlp.up_proj", 4096, 11008), ("mlp.down_proj", 11008, 4096),
    ]
    return try Layout(
        modules: (0..<layers).flatMap { layer in
            try shapes.map { name, inputs, outputs in
                try ModuleShape(
                    name: "model.layers.\(layer).\(name)", inputs: inputs, outputs: outputs, rank: rank,
                    alpha: Double(2 * rank), hasMagnitude: magnitudes)
            }
        }, baseModel: "made-up")
}

func makeCorpus(_ folder: String, _ layout: Layout, count: Int) throws {
    mkdir(folder, 0o777)
    for index in 0..<count {
        var random = Random(seed: 7, stream: UInt64(index))
        var module = 0
        try AdapterStream(layout: layout, options: WriteOptions(type: .bf16, form: .kept)).write(
            to: "\(folder)/\(index)", format: .peft
        ) {
            [:]
        } modules: { () throws(LoragenError) in
            let shape = try layout.only(module)
            module += 1
            return try Adapter(layout: shape) { target in
                for place in shape.tensors {
                    let deviation = place.role == .b ? 0.01 : 0.02
                    random.fillNormal(
                        UnsafeMutableBufferPointer(rebasing: target[place.range]),
                        mean: place.role == .magnitude ? 1 : 0, deviation: deviation)
                }
            }
        }
    }
}

func now() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}

/// A field of /proc/self/status in bytes.
func status(_ name: String) -> Int {
    guard let file = fopen("/proc/self/status", "r") else { return 0 }
    defer { fclose(file) }
    var line: UnsafeMutablePointer<CChar>?
    var capacity = 0
    defer { free(line) }
    while getline(&line, &capacity, file) > 0, let line {
        let words = String(cString: line).split(whereSeparator: \.isWhitespace)
        if words.count > 1, words[0] == name + ":" { return (Int(words[1]) ?? 0) * 1024 }
    }
    return 0
}

/// The most anonymous memory that a call held, as far as its progress shows: without the pages of mapped files.
final class Anonymous {
    var peak = 0
    func look() { peak = max(peak, status("RssAnon")) }
}

func report(_ fields: [(String, String)]) {
    print("{" + fields.map { "\"\($0)\": \($1)" }.joined(separator: ", ") + "}")
}

/// False when the caller stopped it.
func uncancelled(_ body: () throws -> Void) throws -> Bool {
    do {
        try body()
        return true
    } catch let error as LoragenError where error.code == .cancelled {
        return false
    }
}

func run(_ arguments: [String]) throws {
    func number(_ place: Int) throws -> Int {
        guard let value = Int(arguments[place]) else {
            throw LoragenError(.invalidArgument, "\(arguments[place]) is no number")
        }
        return value
    }
    let start = now()
    let anonymous = Anonymous()
    switch (arguments.first, arguments.count) {
    case ("corpus", 6):
        let layout = try layout(rank: number(2), layers: number(3), magnitudes: number(4) == 1)
        try makeCorpus(arguments[1], layout, count: number(5))
        report([("numbers", "\(layout.valueCount)"), ("seconds", "\(now() - start)")])
    case ("untrained", 7):
        let layout = try layout(rank: number(1), layers: number(2), magnitudes: number(3) == 1)
        try writeUntrainedGenerator(
            path: arguments[4], layout: layout, method: "rpg", preset: arguments[5], settings: arguments[6])
        report([("numbers", "\(layout.valueCount)"), ("seconds", "\(now() - start)")])
    case ("train", 6):
        var options = TrainingOptions()
        (options.method, options.preset, options.settings) = ("rpg", arguments[3], arguments[4])
        options.memoryLimit = 24 << 30
        let wanted = try number(5)
        let corpus = try Corpus(path: arguments[1])
        let opened = now()
        var seen: [(time: Double, step: Int)] = []
        _ = try uncancelled {
            try trainGenerator(corpus: corpus, path: arguments[2], options: options) { progress in
                seen.append((now(), progress.step))
                anonymous.look()
                return progress.step >= wanted
            }
        }
        guard let first = seen.first, let last = seen.last else { return }
        let each = (last.time - first.time) / Double(max(1, last.step - first.step))
        report([
            ("numbers", "\(corpus.layout.valueCount)"), ("open", "\(opened - start)"),
            ("first", "\(first.time - opened)"), ("steps", "\(last.step)"), ("seconds", "\(each)"),
            ("anonymous", "\(anonymous.peak)"), ("peak", "\(status("VmHWM"))"),
        ])
    case ("sample", 6):
        let generator = try Generator(path: arguments[1])
        let opened = now()
        var request = GenerationRequest()
        request.steps = try number(4)
        request.sampler = "dpm-solver++"
        let (memory, patience) = (try number(3), Double(try number(5)))
        var share = (done: 0.0, seconds: 0.0)
        let isWhole = try uncancelled {
            try generator.write(
                request, to: arguments[2], format: .peft, options: WriteOptions(type: .bf16),
                memoryLimit: UInt64(clamping: memory)
            ) { progress in
                anonymous.look()
                share = (Double(progress.step) / Double(progress.steps), now() - opened)
                return share.seconds > patience
            }
        }
        if isWhole { share = (1, now() - opened) }
        report([
            ("numbers", "\(generator.layout.valueCount)"), ("open", "\(opened - start)"), ("share", "\(share.done)"),
            ("spent", "\(share.seconds)"), ("seconds", "\(share.seconds / max(share.done, 1e-9))"),
            ("limit", "\(memory)"), ("anonymous", "\(anonymous.peak)"), ("peak", "\(status("VmHWM"))"),
        ])
    default:
        throw LoragenError(.invalidArgument, "expected corpus, untrained, train or sample with its arguments")
    }
}

do { try run(Array(CommandLine.arguments.dropFirst())) } catch {
    print(error)
    exit(1)
}
