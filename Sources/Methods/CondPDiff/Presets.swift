import Files
import Learning
import Tensor

extension CondPDiff {
    /// Ours. What it changes against the published presets, and why:
    ///  - vectors are updates in product space, statistics are pooled over all tasks: per-task statistics hand the
    ///    generator the answer;
    ///  - the autoencoder is the linear optimum in closed form;
    ///  - the denoiser is a residual perceptron that predicts the clean latent, with a time of its own for every sample;
    ///  - latents have unit deviation, conditions are standardised and dropped now and then (guidance);
    ///  - weights are averaged, the best on the validation tasks are kept, training ends when they get no better, and sampling takes 20 steps of DPM-Solver++.
    private static let ours: JSONObject = [
        "space": "product", "factors": "raw", "normaliser": "global", "outputFrame": 8, "inputFrame": 4,
        "autoencoder": "principal", "latents": 511, "autoencoderSteps": 0, "autoencoderBatch": 64,
        "autoencoderRate": 1e-3, "autoencoderWeightDecay": 0.0, "autoencoderDecay": 0.3,
        "denoiser": "residual", "width": 512, "blocks": 2, "dropout": 0.3,
        "steps": 2000, "batch": 128, "rate": 1e-3, "weightDecay": 0.01, "decay": 1.0, "ema": 0.999,
        "clip": 1.0, "conditionDropout": 0.05, "patience": 3, "validationInterval": 50,
        "prediction": "sample", "schedule": "linear", "timesteps": 1000, "latentDeviation": 1.0, "clipLatents": false,
        "sampler": "dpm-solver++", "largeVariance": false, "samplingSteps": 20, "guidance": 1.0,
    ]

    /// The published language preset: 1-D convolutions, per-task statistics, DDPM with all 1000 steps.
    private static let nlp = ours.changing([
        "space": "factors", "normaliser": "per-task",
        "autoencoder": "nlp", "autoencoderSteps": 40_000, "autoencoderBatch": 256, "autoencoderWeightDecay": 0.01,
        "autoencoderDecay": 0.0, "denoiser": "nlp", "steps": 40_000, "batch": 256, "decay": 0.0, "ema": 0.0,
        "clip": 0.0,
        "conditionDropout": 0.0, "patience": 1_000_000, "validationInterval": 1000, "prediction": "noise",
        "latentDeviation": 0.0, "clipLatents": true, "sampler": "ddpm", "largeVariance": true, "samplingSteps": 1000,
    ])

    /// The published vision preset: strided convolutions to 256 latents, constant scaling.
    private static let vision = nlp.changing([
        "normaliser": "constant", "autoencoder": "vision", "autoencoderSteps": 12_000, "autoencoderBatch": 64,
        "autoencoderRate": 2e-4, "autoencoderWeightDecay": 0.0, "autoencoderDecay": 1.0,
        "denoiser": "vision", "steps": 48_000, "batch": 128, "rate": 5e-4, "weightDecay": 0.0, "decay": 1.0,
        "clip": 1.0,
        "latentDeviation": 0.3,
    ])

    /// The final version of the parent method, p-diff, which is unconditional.
    private static let pdiff = vision.changing([
        "normaliser": "per-tensor", "autoencoder": "pdiff", "autoencoderSteps": 500, "autoencoderBatch": 50,
        "autoencoderRate": 2e-5, "denoiser": "pdiff", "steps": 1000, "batch": 50, "rate": 1e-4, "clip": 0.0,
        "latentDeviation": 0.0, "clipLatents": false, "largeVariance": false,
    ])

    static let presets: [(name: String, settings: Settings)] = [
        ("default", Settings(ours)),
        ("nlp", Settings(nlp)),
        (
            "nlp-small",
            // The language preset's topology at a size that two cores can train, with pooled statistics, so that it can
            // be asked for tasks that it was not trained on.
            Settings(
                nlp.changing([
                    "normaliser": "per-element", "autoencoder": "nlp-small", "denoiser": "nlp-small",
                    "autoencoderSteps": 3000, "autoencoderBatch": 64, "steps": 6000, "batch": 64, "decay": 1.0,
                    "autoencoderDecay": 0.3,
                ]))
        ),
        ("vision", Settings(vision)),
        ("pdiff", Settings(pdiff)),
    ]
}
