import ArgumentParser
import CLoragen
import Formats

struct Convert: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Write an adapter in another format.",
        discussion: """
            Reads any format that loragen writes, and PEFT folders, GGUF, .onnx_adapter, diffusers and kohya files of any \
            origin. What the \
            new file will not have is said first.

              loragen convert my-adapter my.gguf --base llama.gguf
              loragen convert my-adapter my.gguf --base llama/config.json --dtype float16
              loragen convert my-adapter my.onnx_adapter
              loragen convert theirs.gguf my-adapter --base architecture=llama,heads=32,kv-heads=8
              loragen convert my-adapter my.npz
              loragen convert my-adapter my-portable-adapter --portable --layers 32
              loragen convert unet-adapter my.safetensors --format kohya --model sdxl
              loragen convert my-lokr my-lora --rank 32
              loragen convert my-vera my-lora --base llama/

            GGUF needs the base model (none of its weights): names and the order of rows depend on its architecture.
            """)

    @Argument(help: "The adapter: a PEFT folder or a file.")
    var source: String

    @Argument(help: "Where to write.")
    var target: String

    @Option(help: "What to write; the suffix of the target says it if left out.")
    var format: AdapterFormat?

    @OptionGroup var saving: Saving

    @Flag(help: ".onnx_adapter: PEFT's keys and shapes, instead of those of Olive.")
    var peftNames = false

    @Flag(help: "Write even if numbers change by more than rounding.")
    var lossy = false

    @Flag(help: "Read the LoRA part of an adapter that has more, such as a trained head; what is left out is said.")
    var loraOnly = false

    @Option(
        parsing: .unconditional,
        help: "Cut each update to the best of this rank, saying what of it is kept; 0: as it is.")
    var rank: Int32 = 0

    func run() throws {
        let format = try AdapterFormat(format, path: target)
        let naming = Int32(peftNames ? LORAGEN_NAMING_PEFT : LORAGEN_NAMING_OLIVE)
        try call(
            saving.with(naming: naming) { save in
                withUnsafePointer(to: save) { save in
                    var options = loragen_convert_options()
                    options.struct_size = MemoryLayout<loragen_convert_options>.size
                    options.save = save
                    options.lossy = lossy ? 1 : 0
                    options.note = printingNote
                    options.lora_only = loraOnly ? 1 : 0
                    options.rank = rank
                    return loragen_convert(source, target, format.code, &options)
                }
            })
        print("wrote \(target) as \(format.name)")
    }
}
