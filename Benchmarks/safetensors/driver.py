"""Reading and writing 1 GB of 2,000 float32 tensors: this library beside the reference safetensors, turn by turn.

    python3 driver.py BENCH [--rounds N] [--json FILE]      (numpy, safetensors)

Writes are synced to the disk on both sides: this library always does; the reference's file is synced after save_file.
Reads are of a file in the page cache, into memory of their own. Opening is the header alone: 2,000 tensors parsed and
checked.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import time
from importlib.metadata import version

import numpy
import safetensors
from safetensors.numpy import load_file, save_file

TENSORS, COUNT = 2000, 512 * 256


def name(i):
    module = ("q_proj", "k_proj", "v_proj", "o_proj")[i // 2 % 4]
    return f"base_model.model.model.layers.{i // 8}.self_attn.{module}.lora_{'AB'[i % 2]}.weight"


class Ours:
    def __init__(self, *arguments):
        self.process = subprocess.Popen(list(map(str, arguments)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def timed(body):
    start = time.monotonic()
    kept = body()
    seconds = time.monotonic() - start
    del kept
    return seconds


def reference_write(tensors, path):
    save_file(tensors, path, {"format": "pt"})
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def reference_open(path):
    with safetensors.safe_open(path, "numpy") as file:
        return len(file.keys())


def turns(rounds, ours, reference, before=lambda: None):
    times = {"loragen": [], "reference": []}
    for round in range(rounds + 1):
        for which, body in (("loragen", ours), ("reference", reference)) if round % 2 else (
                ("reference", reference), ("loragen", ours)):
            before()
            seconds = body()
            if round:  # the first turn warms up
                times[which].append(seconds)
    return times


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bench")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json")
    parser.add_argument("--folder", default=".")
    options = parser.parse_args()
    path = {which: os.path.join(options.folder, f".bench-{which}.safetensors") for which in ("ours", "theirs")}
    tensors = {name(i): (numpy.arange(i * COUNT, (i + 1) * COUNT) % 4093 * 0.25).astype(numpy.float32).reshape(-1, 512)
               for i in range(TENSORS)}
    results = {}
    try:
        results["write, synced"] = turns(
            options.rounds, Ours(options.bench, "write", path["ours"], TENSORS, COUNT),
            lambda: timed(lambda: reference_write(tensors, path["theirs"])), os.sync)
        with open(path["ours"], "rb") as a, open(path["theirs"], "rb") as b:
            while chunk := a.read(1 << 24):
                assert chunk == b.read(1 << 24), "the two wrote different bytes"
            assert not b.read(1)
        results["read"] = turns(options.rounds, Ours(options.bench, "read", path["ours"]),
                                lambda: timed(lambda: load_file(path["ours"])))
        results["open"] = turns(20, Ours(options.bench, "header", path["ours"]),
                                lambda: timed(lambda: reference_open(path["ours"])))
    finally:
        for file in path.values():
            if os.path.exists(file):
                os.unlink(file)
    size = 4 * TENSORS * COUNT
    rows = []
    for what, times in results.items():
        row = {"what": what}
        for which, list_ in times.items():
            row[which] = {"median_s": round(statistics.median(list_), 6), "best_s": round(min(list_), 6),
                          "all_s": [round(t, 6) for t in list_]}
        rows.append(row)
        text = f"{what:14}"
        for which in times:
            median = row[which]["median_s"]
            rate = "" if what == "open" else f" ({size / median / 1e9:5.2f} GB/s)"
            text += f"  {which} {median * 1e3:9.2f} ms, best {row[which]['best_s'] * 1e3:9.2f} ms{rate}"
        print(text)
    if options.json:
        report = {"bytes": size, "tensors": TENSORS, "rounds": options.rounds, "safetensors": version("safetensors"),
                  "numpy": numpy.__version__, "python": platform.python_version(), "cpu": cpu(), "rows": rows}
        with open(options.json, "w") as file:
            json.dump(report, file, indent=1)
            file.write("\n")


def cpu():
    with open("/proc/cpuinfo") as file:
        return next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "unknown")


if __name__ == "__main__":
    main()
