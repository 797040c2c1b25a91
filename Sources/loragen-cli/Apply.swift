import ArgumentParser
import CLoragen

struct Merge: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Add an adapter to a model's weights, or take it out again.",
        discussion: """
            The model is a .safetensors file, a folder of them (sharded or not) or an .onnx file; the result is one like \
            it. Weights are read and written a part at a time.

              loragen merge llama/ my-adapter -o merged/
              loragen merge merged/ my-adapter --undo -o llama-again/
              loragen merge vit.onnx my-adapter -o merged.onnx
              loragen merge llama/ my.compact.safetensors --basis llama.basis.safetensors -o merged/
            """)

    @Argument(help: "The model.")
    var model: String

    @Argument(help: "The adapter: a PEFT folder or a file.")
    var adapter: String

    @Flag(help: "Subtract: the model before, up to the rounding of its weights.")
    var undo = false

    @OptionGroup var applying: Applying

    func run() throws {
        try applying.apply(adapter, to: model, undo ? LORAGEN_APPLY_UNMERGE : LORAGEN_APPLY_MERGE)
    }
}

struct Apply: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Put an adapter into an ONNX model beside its weights, or take it out again.",
        discussion: """
            The weights stay as they are, so quantised models can be adapted too.

              loragen apply llama.onnx my-adapter -o adapted.onnx
              loragen apply llama.onnx my-adapter --inputs -o swappable.onnx
              loragen apply adapted.onnx --undo -o llama-again.onnx

            With --inputs the model gets optional inputs in place of the numbers: without an adapter it computes what it \
            did, and each run can be given another .onnx_adapter file of the same modules.
            """)

    @Argument(help: "The .onnx file.")
    var model: String

    @Argument(help: "The adapter: a PEFT folder or a file.")
    var adapter: String?

    @Flag(help: "Optional inputs, for adapters that are given to a run.")
    var inputs = false

    @Flag(help: "Take out what was put in: the same bytes as before.")
    var undo = false

    @OptionGroup var applying: Applying

    func validate() throws {
        if undo == (adapter != nil) { throw ValidationError("Give an adapter, or --undo.") }
        if undo && inputs { throw ValidationError("--undo takes out inputs too; leave --inputs out.") }
    }

    func run() throws {
        let mode = undo ? LORAGEN_APPLY_REMOVE : inputs ? LORAGEN_APPLY_INPUTS : LORAGEN_APPLY_INJECT
        try applying.apply(adapter, to: model, mode)
    }
}

/// How an adapter becomes part of a model.
struct Applying: ParsableArguments {
    @Option(parsing: .unconditional, help: "A factor on the adapter.")
    var scale = 1.0

    @Option(help: ArgumentHelp("The base model of a GGUF adapter.", valueName: "path"))
    var base: String?

    @Option(help: ArgumentHelp("Of a compact adapter: the basis file of its base model.", valueName: "path"))
    var basis: String?

    @Flag(help: "Use the LoRA part of an adapter that has more, such as a trained head; what is left out is said.")
    var loraOnly = false

    @Option(name: .shortAndLong, help: ArgumentHelp("Where to write.", valueName: "path"))
    var out: String

    func apply(_ adapter: String?, to model: String, _ mode: Int) throws {
        try call(
            withCString(adapter) { adapter in
                withCString(base) { base in
                    withCString(basis) { basis in
                        var options = loragen_apply_options()
                        options.struct_size = MemoryLayout<loragen_apply_options>.size
                        options.mode = Int32(mode)
                        options.scale = scale
                        options.base = base
                        options.note = printingNote
                        options.lora_only = loraOnly ? 1 : 0
                        options.basis = basis
                        return loragen_apply(model, adapter, out, &options)
                    }
                }
            })
        print("wrote \(out)")
    }
}
