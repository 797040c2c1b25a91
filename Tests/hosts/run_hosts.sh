#!/bin/sh
# Runs an installed library (see scripts/install) inside hosts of four languages:
#
#   Tests/hosts/run_hosts.sh LIBDIR [GENERATOR CORPUS]
#
#   the library's symbols and dependencies, the layout of the C structs, hostile arguments (plain and under valgrind), the
#   fuzzers' seeds and findings under valgrind, short memory, behaviour as a guest, the C++, Python and Rust bindings, and the
#   examples of all four languages and the command line, which must write the same bytes for the same request.
#
# GENERATOR takes bits and was trained on CORPUS; without them a small corpus and a ridge generator are made.
# WITHOUT="valgrind rust" leaves parts out; KILLS=200 ends each command that writes so often, as before a release.
set -eu

if [ $# -ne 1 ] && [ $# -ne 3 ]; then
    sed -n '2,13s/^# \{0,1\}//p' "$0" >&2
    exit 64
fi
lib=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
fuzz=$root/Tests/fuzz
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cli=$lib/../bin/loragen

if [ $# -eq 3 ]; then
    generator=$(realpath "$2")
    corpus=$(realpath "$3")
else
    corpus=$work/corpus
    generator=$work/ridge.loragen.safetensors
    python3 "$here/make_corpus.py" "$corpus"
    "$cli" train "$corpus" "$generator" --method ridge >/dev/null
fi

failures=0
part() { # TITLE COMMAND...: silent unless it fails
    title=$1
    shift
    if "$@" >"$work/log" 2>&1; then
        grep -E '^ok ' "$work/log" || echo "ok    $title"
    else
        echo "FAIL  $title"
        sed 's/^/      /' "$work/log"
        failures=$((failures + 1))
    fi
}
wanted() {
    case " ${WITHOUT:-} " in
    *" $1 "*) echo "skip  $1"; return 1 ;;
    esac
}
fresh() { # an empty folder
    rm -rf "$work/fresh" && mkdir "$work/fresh" && echo "$work/fresh"
}

# As an installation is used: the programs find the library by the run path of loragen.pc.
unset LD_LIBRARY_PATH
export PKG_CONFIG_PATH="$lib/pkgconfig"
export LORAGEN_LIBRARY="$lib/libloragen.so.0"
export LORAGEN_LIB_DIR="$lib"
export LORAGEN_TEST_GENERATOR="$generator"
export LORAGEN_TEST_CORPUS="$corpus"
export PYTHONPATH="$root/bindings/python/src"
export PYTHONDONTWRITEBYTECODE=1
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$work/target}"
flags=$(pkg-config --cflags --libs loragen)

# ------------------------------------------------------------------------------------------------ the library as it is

part "library" "$here/check_library.sh" "$lib/libloragen.so.0" "$root/include/loragen.h"
part "header is C99" gcc -std=c99 -Wall -Wextra -pedantic -Werror -fsyntax-only -x c "$root/include/loragen.h"
part "header is C++17" g++ -std=c++17 -Wall -Wextra -pedantic -Werror -fsyntax-only -x c++ "$root/include/loragen.h"
part "layout of the structs" gcc -std=c11 -Wall -Wextra -pedantic -Werror -fsyntax-only -I"$root/include" "$here/abi.c"

# ------------------------------------------------------------------------------------------------ hosts that test

# shellcheck disable=SC2086 # flags are words
{
    gcc -std=c99 -g -Wall -Wextra -pedantic -Werror "$here/hostile.c" -o "$work/hostile" $flags -lm
    gcc -std=gnu11 -g -Wall -Wextra -Werror -I"$root/include" "$here/embedding.c" -o "$work/embedding" \
        -ldl -lpthread -lm
    gcc -std=c11 -D_GNU_SOURCE -g -Wall -Wextra -Werror "$fuzz/replay.c" "$fuzz"/engine/*.c -o "$work/replay" $flags -lm -lz
    g++ -std=c++17 -O1 -g -Wall -Wextra -Werror -shared -fPIC "$here/failing.cpp" -o "$work/failing.so"
    g++ -std=c++17 -g -Wall -Wextra -pedantic -Werror "$here/binding.cpp" -o "$work/binding" $flags -lpthread
}
part "hostile arguments" "$work/hostile" "$generator" "$corpus" "$(fresh)"
if wanted valgrind; then
    part "hostile arguments under valgrind" valgrind -q --error-exitcode=9 --leak-check=full \
        --suppressions="$here/valgrind.supp" --errors-for-leak-kinds=definite --show-leak-kinds=definite \
        "$work/hostile" "$generator" "$corpus" "$(fresh)"
    folder=$(fresh)
    for target in "$fuzz"/corpus/*; do mkdir "$folder/${target##*/}"; done
    cp -r "$fuzz"/manifest/* "$folder/manifest"
    part "the fuzzers' seeds and findings under valgrind" valgrind -q --error-exitcode=9 --leak-check=full \
        --suppressions="$here/valgrind.supp" --suppressions="$fuzz/replay.supp" --errors-for-leak-kinds=definite \
        --show-leak-kinds=definite "$work/replay" "$folder" "$fuzz" "$fuzz"/corpus/*/* "$fuzz"/findings/*/*
fi
part "short memory" python3 "$here/short_memory.py" "$generator" "$corpus" "$(fresh)" --rooms 1,40,64,128,192,256,512,1024
part "one allocation fails" env LD_PRELOAD="$work/failing.so" \
    python3 "$here/short_memory.py" "$generator" "$corpus" "$(fresh)" --failing 8
part "guest" "$work/embedding" "$lib/libloragen.so.0" "$generator" "$corpus" "$(fresh)"
part "C++ binding" "$work/binding" "$generator" "$corpus" "$(fresh)"
part "bytes of generated adapters" python3 "$root/Tests/bytes/bytes.py" --quick
part "Python binding" python3 -m pytest -q --tb=short -p no:cacheprovider "$root/bindings/python"
if wanted rust; then
    part "Rust binding" cargo test --quiet --offline --manifest-path "$root/bindings/rust/Cargo.toml"
fi

# ------------------------------------------------------------------------------------------------ the examples

bits=$(python3 -c '
import loragen, os
print(next(e.bits for e in loragen.Corpus(os.environ["LORAGEN_TEST_CORPUS"]) if e.split == loragen.Split.TEST))')
# shellcheck disable=SC2086
{
    gcc -std=c99 -Wall -Wextra -pedantic -Werror "$root/examples/c/generate.c" -o "$work/c" $flags -lm
    g++ -std=c++17 -Wall -Wextra -pedantic -Werror "$root/examples/cpp/generate.cpp" -o "$work/cpp" $flags
}
part "example in C" "$work/c" "$generator" "$bits" "$work/out-c"
part "example in C++" "$work/cpp" "$generator" "$bits" "$work/out-cpp"
part "example in Python" python3 "$root/examples/python/generate.py" "$generator" "$bits" "$work/out-python"
languages="cpp python"
if wanted rust; then
    part "example in Rust" cargo run --quiet --offline --manifest-path "$root/examples/rust/Cargo.toml" -- \
        "$generator" "$bits" "$work/out-rust"
    languages="$languages rust"
fi
mkdir "$work/out-cli"
make_with_cli() {
    "$cli" generate "$generator" --bits "$bits" --seed 7 -o "$work/out-cli/adapter"
    "$cli" generate "$generator" --bits "$bits" --seed 7 --format safetensors -o "$work/out-cli/adapter.safetensors"
    "$cli" generate "$generator" --bits "$bits" --seed 7 --format onnx -o "$work/out-cli/adapter.onnx"
}
part "example on the command line" make_with_cli
part "an installation, with no variable set" "$here/installed.sh" "$lib/.." "$generator" "$bits" "$(fresh)"
part "killed and interrupted" python3 "$here/killed.py" "$cli" "$generator" "$corpus" "$bits" "${KILLS:-2}"
part "ONNX neighbours" python3 "$here/neighbours.py" "$work/out-cli/adapter"
part "command line" "$here/cli.sh" "$cli" "$generator" "$corpus" "$(fresh)" "$bits"
for language in $languages cli; do
    part "C and $language write the same bytes" diff -r "$work/out-c" "$work/out-$language"
done

[ $failures -eq 0 ] || echo "$failures failed"
exit $((failures > 0))
