#!/bin/sh
# Checks what libloragen.so shows to a host: exactly the functions of the header, no library that a host may lack, a
# soname, never unloaded, no path of the machine that built it.
#
#   Tests/hosts/check_library.sh LIBRARY [HEADER]
set -eu

library=$1
header=${2:-$(dirname "$0")/../../include/loragen.h}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0

claim() { # TITLE, then a command that is silent when the claim holds
    title=$1
    shift
    if result=$("$@" 2>&1) && [ -z "$result" ]; then
        echo "ok    $title"
    else
        echo "FAIL  $title"
        echo "$result" | sed 's/^/      /'
        failures=$((failures + 1))
    fi
}

declared() { # gcc lists the prototypes that a file declares
    gcc -std=c99 -fsyntax-only -aux-info "$work/prototypes" -x c "$header"
    grep -F "$header:" "$work/prototypes" | grep -oE '(loragen_[a-z_]+|generate_lora) \(' | grep -vE '_callback' |
        tr -d ' (' | sort -u
}

same_symbols() {
    declared >"$work/declared"
    nm -D --defined-only --extern-only "$library" | awk '{print $3}' | sort -u >"$work/exported"
    [ -s "$work/declared" ] || echo "no function found in $header"
    comm -3 "$work/declared" "$work/exported" |
        sed 's/^\t\(.*\)/exported, not declared: \1/; t; s/^/declared, not exported: /'
}

needed() {
    readelf -d "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' |
        grep -vE '^(libc|libm|libgcc_s|libstdc\+\+|ld-linux-x86-64)\.so\.[0-9]+$' || true
}

soname() { readelf -d "$library" | grep -q 'SONAME.*\[libloragen\.so\.0\]' || echo "no soname libloragen.so.0"; }
nodelete() { readelf -d "$library" | grep -q 'NODELETE' || echo "no NODELETE"; }
run_path() { readelf -d "$library" | grep -E '\((RUNPATH|RPATH)\)' | grep -vE '\[\$ORIGIN\]$' || true; }
text_relocations() { readelf -d "$library" | grep TEXTREL || true; }
stack() { readelf -lW "$library" | grep GNU_STACK | grep 'RWE' || true; }

claim "exports the functions of the header, and nothing else" same_symbols
claim "needs libc, libm, libstdc++ and libgcc_s only" needed
claim "has the soname libloragen.so.0" soname
claim "stays in memory after dlclose" nodelete
claim "has no run path outside its own folder" run_path
claim "has no text relocations" text_relocations
claim "has no executable stack" stack
exit "$((failures > 0))"
