#!/bin/sh
# Tests of the command line, as a shell sees it:
#
#   Tests/hosts/cli.sh LORAGEN GENERATOR CORPUS WORK BITS
set -u
loragen=$1 generator=$2 corpus=$3 work=$4 bits=$5
failures=0

not_so() {
    echo "not so: $1"
    [ ! -s "$work/output" ] || sed 's/^/    /' "$work/output"
    failures=$((failures + 1))
}
expect() { # STATUS TITLE COMMAND...
    wanted=$1 title=$2
    shift 2
    "$@" >"$work/output" 2>&1
    status=$?
    [ $status -eq "$wanted" ] || not_so "$title (status $status, expected $wanted)"
}
says() { grep -q -e "$1" "$work/output" || not_so "the output says \"$1\""; }

expect 0 "help teaches" "$loragen" --help
says "loragen generate"
for command in train generate info report compare nearest doctor convert merge apply "corpus check" "corpus list" "corpus import" "corpus init" "corpus unpack"; do
    # shellcheck disable=SC2086 # two words
    expect 0 "help of $command has an example" "$loragen" $command --help
    says "^ *loragen $command"
done
expect 0 "the version" "$loragen" --version
expect 64 "a missing argument is a usage error" "$loragen" generate
expect 64 "two conditions are a usage error" "$loragen" generate "$generator" --bits 0 --condition 1 -o "$work/no"
expect 64 "a number that is none is a usage error" "$loragen" generate "$generator" --condition 1,x -o "$work/no"
expect 64 "a size that is none is a usage error" "$loragen" train "$corpus" "$work/no" --memory-limit 4Q
expect 1 "negative numbers are values" "$loragen" generate "$generator" --condition -0.1,2 -o "$work/no"
says "condition"
expect 64 "a negative number where none can be" "$loragen" generate "$generator" --bits "$bits" --seed -1 -o "$work/no"
says "[-]1"
expect 64 "a negative guidance is refused as such" "$loragen" generate "$generator" --bits "$bits" --guidance -1 -o "$work/no"
says "guidance must be at least 0"
expect 64 "a misspelt command" "$loragen" genrate "$generator" --bits "$bits" -o "$work/no"
says "did you mean generate"
expect 64 "a misspelt command of corpus" "$loragen" corpus chekc "$corpus"
says "did you mean check"
expect 64 "a picture that is no .svg" "$loragen" doctor "$corpus" --picture "$corpus/corpus.jsonl"
expect 1 "a missing file is an error" "$loragen" info /does/not/exist
says "/does/not/exist"
says "Check that"
expect 1 "bits of a wrong length are an error" "$loragen" generate "$generator" --bits 1 -o "$work/no"
says "loragen info"
expect 1 "an unknown setting is an error" "$loragen" train "$corpus" "$work/no" --set nothing=1
[ ! -e "$work/no" ] || not_so "a failed command writes nothing"

expect 0 "info" "$loragen" info "$generator"
says "module"
expect 0 "the file's hash" "$loragen" info "$generator" --check
expect 0 "report" "$loragen" report "$generator"
says "skill"
expect 0 "report --json is JSON" sh -c '"$0" report "$1" --json | python3 -m json.tool' "$loragen" "$generator"

expect 1 "a part that the generator does not take" "$loragen" generate "$generator" --part x=1 -o "$work/no"
expect 64 "a part without a name" "$loragen" generate "$generator" --part 1 -o "$work/no"
expect 0 "one adapter" "$loragen" generate "$generator" --bits "$bits" -o "$work/one"
says "norm of the updates"
says "nearest training adapter"
expect 1 "more steps than there are, or steps where there are none" \
    "$loragen" generate "$generator" --bits "$bits" --steps 100000 -o "$work/no"
says "steps"
expect 0 "several samples" "$loragen" generate "$generator" --bits "$bits" --samples 2 --format safetensors \
    -o "$work/two.safetensors"
[ -s "$work/two-0.safetensors" ] && [ -s "$work/two-1.safetensors" ] || not_so "each sample has a file"
printf '%s\n\n  %s\r\n' "$bits" "$bits" >"$work/tasks"
expect 0 "in bounded memory" "$loragen" generate "$generator" --bits "$bits" --memory-limit 256M -o "$work/bounded"
expect 0 "the same bytes in bounded memory" diff -r "$work/one" "$work/bounded"
expect 1 "too little memory is an error" "$loragen" generate "$generator" --bits "$bits" --memory-limit 1000 -o "$work/no"
expect 0 "many adapters from a file" "$loragen" generate "$generator" --bits-file "$work/tasks" -o "$work/many"
diff -r "$work/one" "$work/many/$bits" >/dev/null || not_so "one of many is the same as one alone"
printf '../up\n' >"$work/tasks"
printf '%s\n%s\n' "$bits" "${bits}0" >"$work/tasks"
expect 1 "a bad line is found before anything is written" "$loragen" generate "$generator" --bits-file "$work/tasks" -o "$work/bad"
says "line 2"
[ ! -e "$work/bad" ] || not_so "nothing is written before a bad line"
printf '%s\n%s\n' "$bits" "$bits" >"$work/tasks"
expect 0 "a task that is there twice" "$loragen" generate "$generator" --bits-file "$work/tasks" -o "$work/twice"
says "wrote 1 adapter"
printf '../up\n' >"$work/tasks"
expect 1 "a task that is a path is refused" "$loragen" generate "$generator" --bits-file "$work/tasks" -o "$work/bad"
[ ! -e "$work/bad" ] || not_so "nothing is written for a bad list"

expect 0 "verify" "$loragen" verify "$work/one"
says "0 errors"
expect 0 "verify --json is JSON" sh -c '"$0" verify "$1" --json | python3 -m json.tool' "$loragen" "$work/one"
printf '{"model_type":"llama","num_hidden_layers":1,"hidden_size":8,"num_attention_heads":2,"intermediate_size":8,"vocab_size":9}' \
    >"$work/llama.json"
expect 1 "an adapter of another model" "$loragen" verify "$work/one" --base "$work/llama.json"
says "not in the base model"

expect 0 "convert" "$loragen" convert "$work/one" "$work/one.npz"
expect 0 "the suffix says the format" "$loragen" generate "$generator" --bits "$bits" -o "$work/suffix.safetensors"
[ -f "$work/suffix.safetensors" ] || not_so "a .safetensors file is written"
expect 1 "an unknown suffix" "$loragen" convert "$work/one" "$work/out.weird"
says "[-][-]format"
[ ! -e "$work/out.weird" ] || not_so "no folder is called as a file"
cp "$generator" "$work/own.safetensors"
expect 1 "a generator is not written over" "$loragen" generate "$work/own.safetensors" --bits "$bits" -o "$work/own.safetensors"
expect 1 "nor in little memory" "$loragen" generate "$work/own.safetensors" --bits "$bits" --memory-limit 512M \
    -o "$work/./own.safetensors"
cmp -s "$generator" "$work/own.safetensors" || not_so "the generator is as it was"
expect 1 "an adapter is not converted onto itself" "$loragen" convert "$work/one" "$work/one" --keep-alpha
says "what is read"
expect 0 "converting back" "$loragen" convert "$work/one.npz" "$work/again"
cmp -s "$work/one/adapter_model.safetensors" "$work/again/adapter_model.safetensors" ||
    not_so "an adapter converted to .npz and back has the same bytes"
expect 0 "an .onnx_adapter file" "$loragen" convert "$work/one" "$work/one.onnx_adapter"
says "note: origin"
expect 1 "GGUF without a base model" "$loragen" convert "$work/one" "$work/one.gguf"
says "base model"
case $(cat "$work/output") in *"loragen info"*) not_so "advice about a generator where there is none" ;; esac
expect 1 "merging into a model of other modules" "$loragen" merge "$work/again/adapter_model.safetensors" "$work/one" \
    -o "$work/merged.safetensors"
[ ! -e "$work/merged.safetensors" ] || not_so "nothing is written for a model that does not fit"
expect 64 "an adapter to put in or --undo" "$loragen" apply "$work/model.onnx" -o "$work/out.onnx"

expect 0 "a good corpus" "$loragen" corpus check "$corpus"
expect 0 "its list" "$loragen" corpus list "$corpus"
says "validation"
expect 0 "unpacking it" "$loragen" corpus unpack "$corpus" "$work/unpacked"
expect 0 "what was unpacked is a good corpus" "$loragen" corpus check "$work/unpacked"
expect 1 "unpacking it over something" "$loragen" corpus unpack "$corpus" "$work/unpacked"
cp -r "$work/unpacked" "$work/bare" && rm "$work/bare/corpus.jsonl"
expect 0 "a corpus without manifest" "$loragen" corpus check "$work/bare"
says "warning: .*no adapter has a condition"
says "loragen corpus init"
expect 0 "a trial of what import would draft" "$loragen" corpus import "$work/bare" --dry-run
says "Would draft group 1"
expect 64 "a group that is none" "$loragen" corpus import "$work/bare" --group 0
expect 1 "two names that are none" "$loragen" corpus import "$work/bare" --same-base x
expect 0 "a draft of its manifest" "$loragen" corpus init "$work/bare"
expect 1 "nor does import replace a manifest" "$loragen" corpus import "$work/bare"
expect 1 "a draft never replaces a manifest" "$loragen" corpus init "$work/bare"
expect 0 "what was drafted is a corpus" "$loragen" corpus check "$work/bare"
mkdir "$work/broken"
printf '{"path": "a"}\n{"path": 1}\n' >"$work/broken/corpus.jsonl"
expect 1 "a broken corpus" "$loragen" corpus check "$work/broken"
says "corpus.jsonl"

expect 0 "comparing" "$loragen" compare "$work/one" "$work/one"
says "^cosine  *1.000000"
expect 0 "comparing as JSON" sh -c '"$0" compare "$1" "$1" --json | python3 -m json.tool' "$loragen" "$work/one"
expect 0 "the nearest of a corpus" "$loragen" nearest "$work/one" "$corpus" -n 2
[ "$(wc -l <"$work/output")" -eq 3 ] || not_so "a header and two adapters are listed"
expect 64 "a negative number of neighbours is a usage error" "$loragen" nearest "$work/one" "$corpus" -n -1
expect 0 "a sound corpus at the doctor's" "$loragen" doctor "$corpus" --picture "$work/corpus.svg"
says "left out"
python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' "$work/corpus.svg" ||
    not_so "the picture is XML"
mkdir "$work/sick" && cp -r "$work/one" "$work/sick/a" && cp -r "$work/one" "$work/sick/b"
printf 'x' >"$work/sick/b/adapter_config.json"
expect 1 "a sick folder" "$loragen" doctor "$work/sick"
says "unreadable"
expect 1 "a sick folder as JSON" sh -c '"$0" doctor "$1" --json >"$1.json"; status=$?
    python3 -m json.tool "$1.json" || exit 9; exit $status' "$loragen" "$work/sick"

# Ctrl-C, from a process of its own: a shell's background jobs ignore SIGINT.
expect 130 "Ctrl-C stops a training" python3 - "$loragen" "$corpus" "$work/stopped" <<'EOF'
import signal, subprocess, sys, time
process = subprocess.Popen([sys.argv[1], "train", *sys.argv[2:]], stderr=subprocess.PIPE,
                           preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
process.stderr.readline()  # the first line of progress
process.send_signal(signal.SIGINT)
print(process.stderr.read().decode())
sys.exit(process.wait(30))
EOF
says "Stopped"
[ ! -e "$work/stopped" ] || not_so "a stopped training writes nothing"

# On a narrow terminal.
expect 0 "progress fits a terminal of 40 columns" python3 - "$loragen" "$corpus" "$work/narrow" <<'EOF'
import fcntl, os, pty, re, struct, subprocess, sys, termios
control, terminal = pty.openpty()
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
process = subprocess.Popen([sys.argv[1], "train", *sys.argv[2:], "--method", "mlp", "--set", "steps=300"],
                           stderr=terminal, stdout=subprocess.DEVNULL)
os.close(terminal)
shown = b""
while True:
    try:
        part = os.read(control, 4096)
    except OSError:
        break
    if not part:
        break
    shown += part
lines = [line for line in re.split(r"\r\x1b\[K|\r?\n", shown.decode()) if line]
print(lines[-3:])
sys.exit(process.wait() or not lines or max(map(len, lines)) > 39)
EOF

[ $failures -gt 0 ] || echo "ok    command line"
exit $((failures > 0))
