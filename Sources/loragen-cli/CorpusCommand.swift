import ArgumentParser
import CLoragen
import Files
import Glibc

struct CorpusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "corpus", abstract: "Check, list, draft and unpack corpora.",
        discussion: """
            A corpus is a folder of adapters with a manifest corpus.jsonl that lists PEFT folders or files (or without: \
            then each folder with an adapter_config.json is an adapter and its name the task), or one packed \
            .safetensors file.

              loragen corpus import my-adapters/
              loragen corpus init my-adapters/
              loragen corpus check digits/
            """,
        subcommands: [Check.self, List.self, Import.self, Init.self, Unpack.self])

    struct Check: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List every problem of a corpus: file, line and field.",
            discussion: """
                Problems stop a training, and the exit status is 1. Warnings, on stderr, do not: no conditions, nothing held \
                out, adapters that are left out.

                  loragen corpus check digits/
                """)

        @Argument(help: "The corpus: a folder, or a packed .safetensors file.")
        var path: String

        func run() throws {
            showLog()
            var count = 0
            let status = withUnsafeMutablePointer(to: &count) { count in
                loragen_corpus_check(
                    path,
                    { message, payload in
                        print(string(message))
                        payload?.assumingMemoryBound(to: Int.self).pointee += 1
                        return 0
                    }, count)
            }
            if count > 0 {
                printError("\(count) problem\(count == 1 ? "" : "s") in \(path); docs/corpus.md has the schema.")
                throw ExitCode.failure
            }
            try call(status)
            // It was said.
            loragen_set_log(nil, nil)
            let corpus = try make(about: .corpus) { loragen_corpus_open($0, path) }
            defer { loragen_corpus_free(corpus) }
            print("\(path): \(loragen_corpus_count(corpus)) adapters, no problem")
        }
    }

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List the adapters of a corpus.",
            discussion: """
                  loragen corpus list digits/
                """)

        @Argument(help: "The corpus: a folder, or a packed .safetensors file.")
        var path: String

        func run() throws {
            showLog()
            let corpus = try make(about: .corpus) { loragen_corpus_open($0, path) }
            defer { loragen_corpus_free(corpus) }
            var rows: [[String]] = []
            for index in 0..<loragen_corpus_count(corpus) {
                var entry = loragen_corpus_entry()
                try call(loragen_corpus_entry_at(corpus, index, &entry))
                rows.append([
                    splitName(entry.split), oneLine(entry.task), oneLine(entry.run), conditionText(entry),
                    oneLine(entry.path),
                ])
            }
            print(table(["split", "task", "run", "condition", "path"], rows))
        }

        /// Names may have line breaks.
        private func oneLine(_ text: UnsafePointer<CChar>?) -> String {
            string(text).unicodeScalars.reduce(into: "") { line, scalar in
                if scalar.value < 0x20 || scalar.value == 0x7f {
                    line += "\\u{\(String(scalar.value, radix: 16))}"
                } else {
                    line.unicodeScalars.append(scalar)
                }
            }
        }

        private func splitName(_ split: Int32) -> String {
            switch Int(split) {
            case LORAGEN_SPLIT_VALIDATION: "validation"
            case LORAGEN_SPLIT_TEST: "test"
            default: "train"
            }
        }

        /// The bits, the text, or the start of the vector.
        private func conditionText(_ entry: loragen_corpus_entry) -> String {
            if entry.bits != nil { return string(entry.bits) }
            guard let condition = entry.condition else { return entry.text == nil ? "–" : oneLine(entry.text) }
            let start = UnsafeBufferPointer(start: condition, count: min(entry.condition_length, 4))
            let numbers = start.map { significant(Double($0), 3) }.joined(separator: ",")
            return entry.condition_length > 4 ? "\(numbers),… (\(entry.condition_length))" : numbers
        }
    }

    struct Import: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Draft the manifest of a folder of adapters from what lies beside them.",
            discussion: """
                For adapters as they come: PEFT folders with a model card, files of kohya, diffusers, GGUF and others, a \
                trainer's folders with checkpoints. Base model, descriptions and pictures are taken from README.md, from \
                name.civitai.info, name.metadata.json, name.json, name.txt and name.preview.png beside \
                name.safetensors, from the file's own metadata (ss_...), and from config.yaml.

                Adapters of one base model with the same modules are a group; the largest is drafted, or that of --group. \
                The summary says of every field where it comes from, what was left out and why, and which lines lack a \
                text or a picture. A manifest that is there is never replaced; look at it, then run corpus check.

                  loragen corpus import my-loras/ --dry-run
                  loragen corpus import my-loras/ --same-base "sd_xl_base_1.0.safetensors=SDXL 1.0"
                  loragen corpus import my-loras/ --group 2 --rank 16
                """)

        @Argument(help: "The folder.")
        var folder: String

        @Option(help: "The group to draft, as the summary numbers them.")
        var group: UInt?

        @Option(help: "Leave out adapters of other ranks.")
        var rank: Int32?

        @Option(
            help: ArgumentHelp("Two names of one base model: A is taken as B. May be repeated.", valueName: "a=b"))
        var sameBase: [String] = []

        @Flag(help: "Take earlier checkpoints of a run too, not its last adapter alone.")
        var checkpoints = false

        @Flag(help: "Write nothing; say what would be drafted.")
        var dryRun = false

        @Option(help: "Another seed puts other tasks into validation and test.")
        var seed: UInt64 = 0

        @Flag(help: "Print the summary as JSON; docs/corpus.md has the schema.")
        var json = false

        func validate() throws {
            if group == 0 { throw ValidationError("--group 0: groups are numbered from 1") }
            if let rank, rank < 1 { throw ValidationError("--rank \(rank): expected 1 or more") }
        }

        func run() throws {
            showLog()
            var options = loragen_import_options()
            options.struct_size = MemoryLayout<loragen_import_options>.size
            options.seed = seed
            options.group = Int(clamping: group ?? 0)
            options.rank = rank ?? 0
            options.keep_checkpoints = checkpoints ? 1 : 0
            options.dry_run = dryRun ? 1 : 0
            let names = sameBase.map { strdup($0) }
            defer { for name in names { free(name) } }
            let analysis = try names.map { UnsafePointer($0) }.withUnsafeBufferPointer { names in
                options.same_base = names.baseAddress
                options.same_base_count = names.count
                return try make(about: .corpus) { loragen_corpus_import($0, folder, &options) }
            }
            defer { loragen_analysis_free(analysis) }
            show(analysis, json)
        }
    }

    struct Init: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Draft the manifest of a folder of adapters.",
            discussion: """
                Writes corpus.jsonl: a line for each adapter, with task and run by the folders' names, and a tenth of the \
                tasks each for validation and test. Names that are bits become the condition; else write "bits" or \
                "condition" into each line. A manifest that is there is never replaced.

                  loragen corpus init my-adapters/
                """)

        @Argument(help: "The folder.")
        var folder: String

        @Option(help: "Another seed puts other tasks into validation and test.")
        var seed: UInt64 = 0

        func run() throws {
            showLog()
            try call(loragen_corpus_init(folder, seed), about: .corpus)
            print(
                """
                wrote \(folder)/corpus.jsonl
                Look at "task", "run" and "split" of each line, and give each a condition of one kind and length: "bits", or
                "condition" in place of null, such as [0.2, -1]. Then run `loragen corpus check \(folder)`.
                """)
        }
    }

    struct Unpack: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Write a corpus as PEFT folders with a manifest.",
            discussion: """
                  loragen corpus unpack digits.corpus.safetensors digits/
                """)

        @Argument(help: "The corpus, usually a packed .safetensors file.")
        var packed: String

        @Argument(help: "The folder to make; it must not exist.")
        var folder: String

        func run() throws {
            let corpus = try make(about: .corpus) { loragen_corpus_open($0, packed) }
            defer { loragen_corpus_free(corpus) }
            try call(loragen_corpus_unpack(corpus, folder))
            print("wrote \(loragen_corpus_count(corpus)) adapters into \(folder)")
        }
    }
}
