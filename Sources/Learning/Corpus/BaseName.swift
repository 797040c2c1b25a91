import Adapters

/// A base model has many names: on the hub, in a cache, in a folder, none. Two that are surely one are told here; others a
/// manifest can declare equal with "base_model".
public enum BaseName {
    /// The hub's name in lower case, which is how the hub compares names, also of a folder in its cache; of another path the
    /// path. `nil` for no name.
    public static func canonical(_ name: String?) -> String? {
        guard let name else { return nil }
        let parts = name.split(separator: "/")
        if parts.isEmpty { return nil }
        if let cached = parts.last(where: { $0.hasPrefix("models--") }) {
            return cached.dropFirst("models--".count).split(separator: "-", omittingEmptySubsequences: false)
                .reduce(into: [""]) { names, part in
                    if part.isEmpty {
                        names.append("")
                    } else {
                        names[names.count - 1] += (names[names.count - 1].isEmpty ? "" : "-") + part
                    }
                }
                .joined(separator: "/").lowercased()
        }
        let isPath = name.hasPrefix("/") || name.hasPrefix("~") || name.hasPrefix(".") || parts.count > 2
        let path = (name.hasPrefix("/") ? "/" : "") + parts.joined(separator: "/")
        return isPath ? path : path.lowercased()
    }

    /// Whether two adapters can be of one base model; one that names none goes with any.
    public static func agree(_ a: String?, _ b: String?) -> Bool {
        guard let a = canonical(a), let b = canonical(b) else { return true }
        return a == b
    }

    /// What to do about names that differ.
    public static let advice =
        "if they are one model, give their lines of corpus.jsonl one \"base_model\", or their configs one "
        + "base_model_name_or_path"
}

extension Layout {
    /// The layout with the base model that a manifest declares.
    public func declared(by entry: CorpusEntry?) -> Layout {
        with(baseModel: entry?.baseModel ?? baseModel, taskType: taskType)
    }

    /// The layout with what all say that say it: the first name of the base model, and the task type if there is but one.
    func sharing(_ others: [Layout]) -> Layout {
        let tasks = Set(others.compactMap(\.taskType))
        return with(
            baseModel: others.lazy.compactMap(\.baseModel).first { BaseName.canonical($0) != nil },
            taskType: tasks.count == 1 ? tasks.first : nil)
    }
}
