import Files
import Learning
import Tensor

extension RPG {
    /// Ours. What it changes against the published presets, and why: docs/rpg.md.
    private static let ours: JSONObject = [
        "space": "product", "factors": "raw", "normaliser": "global", "outputFrame": 8, "inputFrame": 4,
        "start": "auto",
        "tokens": "flatten", "tokenSize": 1536, "position": "grid", "state": "auto",
        "recurrence": "residual-mamba", "width": 512, "outputWidth": 0, "stateSize": 32, "conditionWidth": 512,
        "conditionTokens": 0,
        "denoiser": "perceptron", "channels": "8,16,8", "kernel": 7, "denoiserWidth": 512, "blocks": 1, "dropout": 0.2,
        "steps": 1200, "batch": 64, "diffusionBatch": 0, "rate": 2e-3, "weightDecay": 0.05, "decay": 1.0, "warmUp": 100,
        "ema": 0.999, "clip": 1.0, "conditionDropout": 0.05, "conditionNoise": 0.1,
        "patience": 4, "validationInterval": 100, "weights": "float32",
        "prediction": "sample", "schedule": "linear", "timesteps": 1000,
        "sampler": "dpm-solver++", "eta": 0.0, "stridedTimes": false, "samplingSteps": 10, "guidance": 1.0,
    ]

    /// The published recipe; presets differ in sizes and steps (the paper's tables 12 and 13).
    private static let published = ours.changing([
        "space": "factors", "normaliser": "inside-tensor", "start": "none", "tokens": "within-layer",
        "recurrence": "mamba",
        "conditionWidth": 1024, "denoiser": "convolution", "channels": "32,64,128,64,32", "dropout": 0.0,
        "stateSize": 128, "steps": 80_000, "batch": 16, "diffusionBatch": 1024, "rate": 3e-5, "weightDecay": 0.0,
        "warmUp": 0,
        "ema": 0.0, "clip": 0.0, "conditionDropout": 0.0, "conditionNoise": 0.0,
        "patience": 1_000_000, "validationInterval": 2000,
        "prediction": "noise", "sampler": "ddpm", "eta": 0.05, "stridedTimes": true, "samplingSteps": 1000,
    ])

    private static let base = published.changing(["tokenSize": 8192, "width": 8192])

    static let presets: [(name: String, settings: Settings)] = [
        ("default", Settings(ours)),
        (
            "tiny",
            Settings(
                published.changing([
                    "tokenSize": 256, "width": 256, "stateSize": 32, "steps": 30_000, "batch": 8, "diffusionBatch": 0,
                    "rate": 1e-4,
                ]))
        ),
        ("small", Settings(published.changing(["tokenSize": 4096, "width": 4096]))),
        ("base", Settings(base)),
        (
            "large",
            Settings(
                published.changing([
                    "weights": "bfloat16", "tokenSize": 16_384, "width": 12_288, "outputWidth": 16_384,
                    "channels": "64,96,64",
                    "steps": 120_000, "batch": 8, "diffusionBatch": 512, "rate": 1e-5, "sampler": "ddim",
                    "samplingSteps": 60,
                ]))
        ),
        (
            // Unseen tasks: no state, and a condition that reaches the last 8 tokens only.
            "conditional",
            Settings(
                base.changing(["state": "none", "conditionTokens": 8, "steps": 120_000, "diffusionBatch": 512]))
        ),
    ]
}
