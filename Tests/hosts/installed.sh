#!/bin/sh
# Uses what scripts/install made as README says: from any folder, with none of the variables that say where a library is.
#
#   Tests/hosts/installed.sh PREFIX GENERATOR BITS WORK
#
#   the command line and the C, C++, Python and Rust examples find the library, and it its ONNX part, in the prefix; never
#   in the working folder, where others of their names lie.
set -eu
prefix=$(cd "$1" && pwd) generator=$(realpath "$2") bits=$3 work=$4
root=$(cd "$(dirname "$0")/../.." && pwd)
unset LD_LIBRARY_PATH LORAGEN_LIBRARY LORAGEN_LIB_DIR PKG_CONFIG_PATH PYTHONPATH
export PYTHONDONTWRITEBYTECODE=1

# ~/.local of a home of its own; Cargo keeps its real one.
export CARGO_HOME="${CARGO_HOME:-$HOME/.cargo}" CARGO_TARGET_DIR="$work/target" HOME="$work/home"
[ ! -d "$CARGO_HOME" ] || export RUSTUP_HOME="${RUSTUP_HOME:-$(dirname "$CARGO_HOME")/.rustup}"
mkdir "$HOME" "$work/here"
ln -s "$prefix" "$HOME/.local"

# What anybody may have left in the folder that a program is run in: it says so when it is loaded, and ends the program.
cd "$work/here"
printf '#include <unistd.h>\n__attribute__((constructor)) static void run(void) { write(2, "planted\\n", 8); _exit(66); }\n' >planted.c
for name in libloragen_onnx.so.0 libloragen_onnx.so libloragen.so.0 libloragen.so; do
    gcc -shared -fPIC -w planted.c -o "$name"
done

failed() {
    echo "not so: $1"
    exit 1
}
PATH="$HOME/.local/bin:$PATH"
loragen generate "$generator" --bits "$bits" --seed 7 -o cli/adapter 2>/dev/null && failed "there is no folder cli"
mkdir cli
for name in adapter adapter.safetensors adapter.onnx; do
    loragen generate "$generator" --bits "$bits" --seed 7 -o "cli/$name"
done
loragen verify cli/adapter.onnx
# A program's folder is not where it is called from, nor what it is called.
(cd "$HOME/.local/bin" && ./loragen verify "$work/here/cli/adapter.onnx")
ln -s "$HOME/.local/bin/loragen" linked
./linked convert cli/adapter.onnx cli/again.npz

flags=$(PKG_CONFIG_PATH="$HOME/.local/lib/pkgconfig" pkg-config --cflags --libs loragen)
# shellcheck disable=SC2086 # flags are words
{
    gcc -std=c99 "$root/examples/c/generate.c" -o c-host $flags -lm
    g++ -std=c++17 "$root/examples/cpp/generate.cpp" -o cpp-host $flags
}
./c-host "$generator" "$bits" c
./cpp-host "$generator" "$bits" cpp
PYTHONPATH="$root/bindings/python/src" python3 "$root/examples/python/generate.py" "$generator" "$bits" python
if LORAGEN_LIBRARY=libloragen.so.0 PYTHONPATH="$root/bindings/python/src" python3 -c 'import loragen; loragen.version()'; then
    failed "a relative LORAGEN_LIBRARY is refused"
fi
languages="c cpp python"
if command -v cargo >/dev/null; then
    cargo run --quiet --offline --manifest-path "$root/examples/rust/Cargo.toml" -- "$generator" "$bits" rust
    "$CARGO_TARGET_DIR/debug/generate" "$generator" "$bits" rust-alone
    languages="$languages rust rust-alone"
fi
for language in $languages; do diff -r cli "$language" | grep -v '^Only in cli: again.npz$' && failed "$language writes the same bytes"; done
echo "ok    an installation, with no variable set"
