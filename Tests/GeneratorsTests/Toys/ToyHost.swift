@testable import Hosts

/// A host that loads anything and refuses DoRA.
enum ToyHost {
    static let host = Host(name: "Toy 1.0") { rules in
        if let dora = rules.dora { return rules.refused("Toy 1.0", "it does not take DoRA ('\(dora)')") }
        return rules.stated("Toy 1.0")
    }
}
