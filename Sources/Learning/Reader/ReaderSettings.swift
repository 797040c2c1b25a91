import Files
import Tensor

/// How texts or pictures of a condition are read.
public struct ReaderSettings: Sendable {
    /// "pooled", one vector each as their encoder gives it, or "tokens", by a small transformer that is trained first.
    public static let kinds = ["pooled", "tokens"]

    /// The settings' own, which every method takes beside its own: their names begin with "reader".
    public static let defaults = Settings([
        "reader": "pooled", "reader.layer": -1, "reader.tokens": 32, "reader.width": 192, "reader.layers": 2,
        "reader.heads": 6, "reader.queries": 4, "reader.hidden": 512, "reader.dropout": 0.2, "reader.tokenDropout": 0.2,
        "reader.steps": 800,
        "reader.batch": 32, "reader.rate": 1e-3, "reader.weightDecay": 1e-2, "reader.patience": 6,
    ])

    public let readsTokens: Bool
    /// Of the encoder; nil: tried out, by the validation tasks.
    public var layer: Int?
    public let tokens: Int
    public let width: Int
    public let layers: Int
    public let heads: Int
    /// Means of the tokens' states that are the features.
    public let queries: Int
    let hidden: Int
    let dropout: Double
    /// Share of the tokens that training leaves out.
    let tokenDropout: Double
    let batch: Int
    let optimisation: Optimisation
    private let values: Settings

    /// `overrides` as a method's settings are overridden.
    public init(_ values: Settings = defaults) throws(LoragenError) {
        self.values = values
        readsTokens = try values.choice("reader", Self.kinds) == "tokens"
        let layer = try values.integer("reader.layer", -1...1000)
        self.layer = layer < 0 ? nil : layer
        tokens = try values.integer("reader.tokens", 1...4096)
        width = try values.integer("reader.width", 4...4096)
        layers = try values.integer("reader.layers", 1...64)
        heads = try values.integer("reader.heads", 1...256)
        queries = try values.integer("reader.queries", 1...64)
        hidden = try values.integer("reader.hidden", 1...65536)
        dropout = try values.number("reader.dropout", 0...0.9)
        batch = try values.integer("reader.batch", 1...65536)
        tokenDropout = try values.number("reader.tokenDropout", 0...0.9)
        let steps = try values.integer("reader.steps", 1...1_000_000)
        optimisation = Optimisation(
            steps: steps, learningRate: try values.number("reader.rate", 0...10),
            weightDecay: try values.number("reader.weightDecay", 0...10), warmUp: min(50, steps / 10),
            validationInterval: min(50, steps), patience: try values.integer("reader.patience", 1...1_000_000))
        guard width % heads == 0 else {
            throw LoragenError(.invalidArgument, "reader.width is \(width), which \(heads) heads do not divide")
        }
    }

    /// Takes those of a reader out of a caller's overrides of a method's settings. Throws `.invalidArgument`.
    public static func split(_ text: String?) throws(LoragenError) -> (reader: ReaderSettings, rest: String?) {
        guard let text else { return (try ReaderSettings(), nil) }
        let json: JSON
        do throws(LoragenError) { json = try JSON.parse(text, source: "settings") } catch {
            throw LoragenError(.invalidArgument, error.message)
        }
        guard let object = json.object else { return (try ReaderSettings(), text) }
        var (own, rest) = (JSONObject(), JSONObject())
        for member in object.members {
            let isOwn = member.name == "reader" || member.name.hasPrefix("reader.")
            if isOwn { own[member.name] = member.value } else { rest[member.name] = member.value }
        }
        return (
            try ReaderSettings(defaults.overridden(by: JSON.object(own).text())), try JSON.object(rest).text()
        )
    }

    public var json: JSON { .object(values.values) }
}
