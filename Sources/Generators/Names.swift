import Conditions
import Files
import Formats
import Hosts
import Learning
import Methods

/// What can be named in a call: methods with their presets, spaces, samplers, kinds of condition, formats, hosts.
public var names: JSON {
    .object([
        "methods": .array(
            methods.all.map { entry in
                .object([
                    "name": .string(entry.name), "presets": JSON(entry.presets.map(\.name)),
                    "baseline": .bool(entry.isBaseline),
                ])
            }),
        "spaces": JSON(spaces.names), "samplers": JSON(samplerNames), "conditions": JSON(conditionKinds.names),
        "formats": .array(
            formats.all.map { .object(["name": .string($0.name), "suffix": .string($0.suffix)]) }),
        "hosts": JSON(hostNames),
    ])
}
