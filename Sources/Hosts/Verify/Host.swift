import Files

/// A program that loads adapters.
struct Host: Sendable {
    /// With the version that the rule is of.
    let name: String
    /// Whether it leaves out the modules that the base model does not have; others refuse the adapter.
    var isLenient = false
    /// What it does with an adapter; nil for files that it does not load.
    let verdict: @Sendable (HostRules) -> HostVerdict?
}

let hosts = Registry<Host>("host", languageHosts + otherHosts + diffusionHosts) { $0.name }

/// The hosts that `Verification` knows.
public var hostNames: [String] { hosts.names }
