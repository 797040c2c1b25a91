#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Time and memory of opening a generator and of one generate_lora(), in this process, which does nothing else.

    python one_call.py GENERATOR --bits 0001100101

The file's pages are dropped from memory before it is opened, and one thread is used. Prints JSON: milliseconds, MiB.
"""
import argparse
import json
import os
import re
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bindings/python/src"))

import loragen  # noqa: E402


def drop_pages(path):
    """Needs clean pages that no process maps."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def number_in(path, name):
    try:
        return int(re.search(rf"^{name}:\s+(\d+)", Path(path).read_text(), re.M).group(1))
    except (OSError, AttributeError):
        return None


def reset_peak():
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generator", type=Path)
    parser.add_argument("--bits", required=True)
    parser.add_argument("--calls", type=int, default=30, help="calls of which the median is taken (30)")
    args = parser.parse_args()

    loragen.set_threads(1)
    drop_pages(args.generator)
    read = number_in("/proc/self/io", "read_bytes")
    reset_peak()
    before = number_in("/proc/self/status", "VmRSS")

    def timed(call):
        start = time.perf_counter()
        result = call()
        return 1000 * (time.perf_counter() - start), result

    cold, generator = timed(lambda: loragen.Generator(args.generator))
    first, _ = timed(lambda: generator.generate(bits=args.bits))
    peak = number_in("/proc/self/status", "VmHWM")
    read_after = number_in("/proc/self/io", "read_bytes")
    calls = [timed(lambda: generator.generate(bits=args.bits, seed=i))[0] for i in range(args.calls)]
    warm, _ = timed(lambda: loragen.Generator(args.generator))
    print(json.dumps({
        "cold open ms": cold, "warm open ms": warm, "first call ms": first, "median call ms": statistics.median(calls),
        "fastest call ms": min(calls), "process peak MiB": peak / 1024,
        "added by open and call MiB": (peak - before) / 1024,
        "read from disk MiB": None if read is None else (read_after - read) / 2**20,
        "file MiB": args.generator.stat().st_size / 2**20,
    }))


if __name__ == "__main__":
    main()
