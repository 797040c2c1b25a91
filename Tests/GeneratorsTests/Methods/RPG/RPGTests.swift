import Tensor
import Testing

@testable import Files
@testable import Generators
@testable import Learning
@testable import Methods

/// RPG at a size that trains in a second.
let tinyRPG = """
    {"tokenSize": 16, "width": 32, "stateSize": 8, "conditionWidth": 16, "denoiserWidth": 16, "blocks": 1, "steps": 250, \
    "batch": 8, "rate": 0.003, "warmUp": 0, "dropout": 0.0, "conditionNoise": 0.0, \
    "ema": 0.9, "validationInterval": 25, "timesteps": 50, "samplingSteps": 5}
    """

@Suite struct RPGTests {
    private static let size = ProblemSize(
        values: 300, conditions: 5, examples: 8, tensors: [[4, 15], [20, 6], [3, 40]], runs: 3)

    private static func settings(_ preset: String, _ change: JSONObject = [:]) throws -> Settings {
        let base = try methods("rpg").settings(preset: preset)
        return Settings(base.values.changing(change))
    }

    private static func model(_ preset: String, _ change: JSONObject = [:]) throws -> RPG {
        RPG(try RPGSettings(settings(preset, change), size), Random(seed: 5))
    }

    @Test(
        "the presets have the published number of parameters, with states for 50 checkpoints",
        arguments: [
            ("tiny", 0.83, 1.2), ("small", 204.6, 239.5), ("base", 813.9, 950.8), ("large", 2265.8, 2807.6),
        ])
    func parameters(preset: String, recurrent: Double, all: Double) throws {
        let size = ProblemSize(values: 1 << 20, conditions: 0, examples: 50, runs: 50)
        let c = try RPGSettings(Self.settings(preset), size).configuration
        #expect(c.states == 50)
        #expect(abs(Double(c.recurrentCount) / 1e6 - recurrent) <= 0.05)
        #expect(abs(Double(c.parameterCount) / 1e6 - all) <= 0.05)
    }

    @Test("the counted parameters are those of the networks", arguments: RPGConfiguration.Recurrence.allCases)
    func counts(recurrence: RPGConfiguration.Recurrence) throws {
        for denoiser in RPGConfiguration.Denoiser.allCases {
            for position in TokenPositions.Kind.allCases {
                let change: JSONObject = [
                    "recurrence": .string(recurrence.rawValue), "denoiser": .string(denoiser.rawValue),
                    "position": .string(position.rawValue), "width": 64, "tokenSize": 16, "state": "run",
                    "start": "none",
                ]
                let model = try Self.model("default", change)
                let counted = try RPG.entry.plan(Self.settings("default", change), Self.size).weightCount
                #expect(model.network.parameterCount == counted)
            }
        }
    }

    @Test(
        "a number reaches as far as the kernels: 18 positions through six convolutions, 12 through four",
        arguments: [([32, 64, 128, 64, 32], 18), ([64, 96, 64], 12)])
    func receptiveField(channels: [Int], reach: Int) {
        var c = RPGConfiguration()
        (c.width, c.outputWidth, c.tokenSize, c.channels) = (32, 32, 64, channels)
        var random = Random(seed: 1)
        let denoiser = ConvTokenDenoiser<Double>(c, random: &random)
        denoiser.setTraining(false)
        let context: Tensor<Double> = random.normal([1, 64])
        let time: Tensor<Double> = random.normal([1, 64], mean: 1)
        let x: Tensor<Double> = random.normal([1, 64])
        var moved = x
        moved.withUnsafeMutableBufferPointer { $0[30] += 1 }
        let infer = denoiser.inference()
        let change = (infer(moved, time, context) - infer(x, time, context)).values
        let touched = change.indices.filter { change[$0] != 0 }
        #expect(touched.first == 30 - reach && touched.last == 30 + reach)
    }

    @Test func `the loss of the published model starts at the noise's variance, and padding has no gradient`() throws {
        let model = try Self.model("tiny", ["batch": 4])
        let count = model.tokens.count
        #expect(count == 3)
        var random = Random(seed: 2)
        let data = TrainingData(
            vectors: random.normal([8, 300]), conditions: random.normal([8, 5]), validationConditions: .zeros([0, 5]),
            skill: { _ throws(LoragenError) in nil }, seed: 1, runs: [0, 1, 2, 0, 1, 2, 0, 1])
        let stage = try #require(try model.stages(data).first)
        let losses = try (0..<8).map { Double(try stage.loss(step: $0).item) }
        let mean = losses.reduce(0, +) / 8
        #expect(abs(mean - 1) < 0.1, "\(losses)")
        let picks = (0..<count).map { WeightTokens.Pick(row: 0, token: $0) }
        let output: Tensor<Float> = random.normal([count, 256])
        let leaf = output.requiringGradient()
        let clean = try model.tokens.gather(data.rows, picks)
        mseLoss(leaf, clean, weight: model.tokens.mask(picks)).backward()
        let gradient = try #require(leaf.gradient)
        for (row, token) in model.tokens.tokens.enumerated() {
            let values = gradient.slice(axis: 0, row..<(row + 1)).values
            #expect(values[..<token.count].allSatisfy { $0 != 0 } && values[token.count...].allSatisfy { $0 == 0 })
        }
    }

    @Test(
        "a condition of the last tokens leaves the prototypes before them alone",
        arguments: [RPGConfiguration.Recurrence.mamba, .lstm, .transformer])
    func causality(recurrence: RPGConfiguration.Recurrence) throws {
        let model = try Self.model(
            "tiny",
            ["tokenSize": 16, "width": 32, "conditionTokens": 4, "recurrence": .string(recurrence.rawValue)])
        var random = Random(seed: 3)
        let conditions: Tensor<Float> = random.normal([2, 5])
        let n = model.tokens.count
        let streams = [Random(seed: 1), Random(seed: 1)]
        let found = model.prototypes(conditions: conditions, streams: streams).values
        let d = model.configuration.outputWidth
        for token in 0..<n {
            let rows = (0..<2).map { Array(found[($0 * n + token) * d..<($0 * n + token + 1) * d]) }
            #expect((rows[0] == rows[1]) == (token < n - 4), "token \(token) of \(n)")
        }
    }

    @Test("a token's numbers do not depend on the tokens that it is drawn with", arguments: ["default", "tiny"])
    func chunks(preset: String) throws {
        let model = try Self.model(
            preset, ["tokens": "within-layer", "tokenSize": 7, "width": 32, "denoiserWidth": 16])
        model.network.setTraining(false)
        let n = model.tokens.count
        #expect(n == 9 + 18 + 18)
        var random = Random(seed: 4)
        // Ours starts as the zero function.
        for entry in model.network.namedParameters where entry.name.hasSuffix("readout.weight") {
            entry.parameter.value = random.normal(entry.parameter.shape)
        }
        let prototypes: Tensor<Float> = random.normal([200, model.configuration.outputWidth])
        let places = (0..<200).map { RPG.Place(random: Random(seed: 9, stream: 3), token: $0) }
        let sampling = Sampling(sampler: DDIM(eta: 0.5), steps: 4, guidance: 1)
        let ready = RPG.ReadyDenoiser(model)
        func draw(_ range: Range<Int>) throws -> [Float] {
            try model.denoised(
                model.context(prototypes.slice(axis: 0, range)), free: nil, places: Array(places[range]),
                sampling: sampling, ready: ready
            ).values
        }
        let all = try draw(0..<200)
        let (first, second, third) = (try draw(0..<64), try draw(64..<192), try draw(192..<200))
        let same = all == first + second + third
        #expect(same)
        let other = Array(all[..<7]) == Array(all[7..<14])
        #expect(!other)
    }

    @Test func `a state's row is drawn for each sample, and a fixed stream draws the same`() throws {
        let model = try Self.model("tiny", ["state": "run", "tokenSize": 16, "width": 32])
        model.network.states?.value = Tensor((0..<96).map { Float($0) }, shape: [3, 32])
        let conditions = Tensor<Float>.zeros([20, 5])
        let streams = (0..<20).map { Random(seed: 7, stream: UInt64($0)) }
        let a = model.prototypes(conditions: conditions, streams: streams).values
        let again = model.prototypes(conditions: conditions, streams: streams).values
        #expect(a == again)
        let each = a.count / 20
        #expect(Set((0..<20).map { Array(a[$0 * each..<($0 + 1) * each]) }).count == 3)
    }

    @Test func `the strided times of DDIM are the published ones`() {
        let schedule = NoiseSchedule()
        #expect(abs(schedule.alphaBar[0] - 0.9999) < 1e-12)
        #expect(abs(schedule.alphaBar[999] - 4.04e-5) < 5e-8)
        let times = DDIM(eta: 0.05, isStrided: true).timesteps(schedule, 60)
        #expect(times.count == 60 && times[0] == 945 && times[58] == 17 && times[59] == 1)
    }

    @Test func `a constant tensor comes back as its constant`() throws {
        let rows = Tensor<Float>([1, 2, 3, 0.7, 0.7, 2, 3, 4, 0.7, 0.7], shape: [2, 5])
        let normaliser = try Normaliser(
            kind: .insideTensor, rows: TensorRows(rows), groups: [0, 0], groupCount: 1,
            tensors: [(0..<3, true), (3..<5, false)])
        let x = normaliser(rows, groups: [0, 0]).values
        #expect(x == [-1.5, -0.5, 0.5, 0, 0, -0.5, 0.5, 1.5, 0, 0])
        let drawn = Tensor<Float>([0, 1, 2, 3, -4], shape: [1, 5])
        #expect(normaliser.inverse(drawn, groups: [0]).values == [2.5, 3.5, 4.5, 0.7, 0.7])
    }
}

/// From corpus to generated adapters.
@Suite(.serialized) struct RPGTrainingTests {
    @Test func `the default learns the synthetic corpus, and the file gives the same bytes on any number of threads`()
        throws
    {
        let path = try Trained.path("rpg", settings: tinyRPG)
        let generator = try Generator(path: path)
        #expect(generator.method == "rpg" && generator.sampler == "dpm-solver++")
        let report = try JSON.parse(generator.report, source: "report")
        let skill = try #require(report["test"]?["skill"]?["generator"]?.double)
        #expect(skill > 0.5, "\(generator.report)")
        let before = Threads.count
        defer { Threads.count = before }
        var bytes: [[Float]] = []
        for threads in [1, 4] {
            Threads.count = threads
            let adapter = try generator.generate(request(bits: "01101"))[0]
            bytes.append(Array(adapter.values))
            withExtendedLifetime(adapter) {}
        }
        #expect(bytes[0] == bytes[1])
    }

    @Test func `the published networks train on factors and draw with DDIM`() throws {
        let settings = """
            {"tokenSize": 16, "width": 32, "stateSize": 8, "channels": "4,8,4", "steps": 20, "batch": 4, \
            "conditionWidth": 8, "timesteps": 50, "samplingSteps": 5, "sampler": "ddim", "validationInterval": 10}
            """
        var options = tinyOptions(method: "rpg", settings: settings)
        options.preset = "base"
        let scratch = try Scratch()
        try trainGenerator(corpus: try Synthetic.shared.get().corpus, path: scratch("g"), options: options)
        let generator = try Generator(path: scratch("g"))
        #expect(generator.sampler == "ddim" && generator.steps == 5)
        #expect(try generator.generate(request(bits: "01101"))[0].layout.modules.count == 3)
    }

    @Test func `prototypes alone are a method that does not sample`() throws {
        let settings = try JSON.parse(tinyRPG, source: "").object?.changing(["denoiser": "none", "steps": 40])
        let path = try Trained.path("rpg", settings: JSON.object(try #require(settings)).text())
        let generator = try Generator(path: path)
        #expect(generator.sampler == nil)
        let two = try generator.generate(request(bits: "01101") { $0.samples = 2 })
        let same = Array(two[0].values) == Array(two[1].values)
        #expect(same)
    }

    @Test func `without conditions each training run has a state, and samples are of different runs`() throws {
        let scratch = try Scratch()
        let lines = (0..<12).map { task in
            ["path": "t\(task)", "task": "t\(task)", "run": "run\(task % 3)", "split": "train"] as [String: Any]
        }
        try Synthetic.folder(scratch("c"), tasks: 0..<12, lines: lines)
        var options = tinyOptions(method: "rpg", settings: tinyRPG)
        options.settings = options.settings?.replacing("\"steps\": 250", with: "\"steps\": 30")
        try trainGenerator(corpus: try Corpus(path: scratch("c")), path: scratch("g"), options: options)
        let file = try SafetensorsFile(path: scratch("g"))
        #expect(file.tensor("model.states")?.shape == [3, 32])
        let generator = try Generator(path: scratch("g"))
        #expect(generator.schema.parts.isEmpty)
        #expect(try generator.generate(request { $0.samples = 4 }).count == 4)
    }
}
