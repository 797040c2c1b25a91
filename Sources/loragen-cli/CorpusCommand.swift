import ArgumentParser
import CLoragen
import Files

struct CorpusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "corpus", abstract: "Check, list, draft and unpack corpora.",
        discussion: """
            A corpus is a folder of PEFT adapters with a manifest corpus.jsonl (or without: then each folder with an \
            adapter_config.json is an adapter and its name the task), or one packed .safetensors file.

              loragen corpus init my-adapters/
              loragen corpus check digits/
            """,
        subcommands: [Check.self, List.self, Init.self, Unpack.self])

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
