"""Runs ours and the peers in turn and prints ratios:
driver.py BIN_FOLDER PEER_PYTHON GENERATOR [--quick] [--only NAME]... [--threads N]"""

import argparse
import datetime
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
CONV = 143_808  # weights of the denoiser's convolutions
CACHE = 64 << 20  # bytes; what is smaller need not come from memory each time
PAUSE = 0.25  # seconds before a turn: the threads of OpenBLAS and ONNX Runtime go on spinning after their work is done

# name: (peers, floating-point operations or None, bytes that must be read or None, goal)
ROWS = {
    **{f"sgemm-{n}": (["eager", "onednn", "compile", "numpy", "onnxruntime"], 2 * n**3, None, 0.95)
       for n in (512, 1024, 2048, 4096)},
    **{f"linear-{m}": (["eager", "onednn", "compile", "numpy", "onnxruntime"], 2 * m * 4096 * 1024, 4096 * 1024 * 4, 0.95)
       for m in (1, 4, 16)},
    "autoencoder": (["eager", "compile"], None, None, 2.0),
    "denoiser-sample": (["eager", "compile", "onnxruntime"],
                        2 * 64 * 4096 * (CONV + 256 + 2 * 4096), None, 2.0),
    "denoiser-train": (["eager", "compile"],
                       6 * 64 * 4096 * (CONV + 256 + 2 * 4096), None, 2.0),
    "rpg-train": (["eager", "compile"],
                  6 * 1024 * (1024 * (CONV + 256 + 2 * 1024) + 2 * (1024 * 4384 + 2048 * 1024)), None, 2.0),
    "gpt-train": (["eager", "noonednn", "compile"],
                  6 * 8 * 512 * (6 * 12 * 384**2 + 384 * 512 + 6 * 2 * 256 * 384), None, 1.5),
    "gpt-decode": (["eager", "noonednn"], None, None, 3.0),
    "bert": (["eager", "noonednn", "compile", "onnxruntime"], 2 * 24 * 12 * 12 * 768**2, 12 * 12 * 768**2 * 4, 2.0),
    "first-adapter": (["script"], None, None, 30.0),
}
# The least share of the measured peak, counting the operations of the plain form
SHARES = {"gpt-train": 0.6, "denoiser-train": 0.5, "denoiser-sample": 0.5}
# What the goal of most rows counts; of the products it is the best of all peers.
PYTORCH = ("eager", "onednn", "noonednn", "compile", "script")
TRAINING = ("autoencoder", "denoiser-train", "rpg-train", "gpt-train")


class Side:
    """One process that holds one work."""

    def __init__(self, command, environment):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=environment)
        if self.ask(None) != "ready":
            self.close()
            raise RuntimeError("not available")

    def ask(self, line):
        if line is not None:
            self.process.stdin.write(f"{line}\n")
            self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer:
            raise RuntimeError("stopped")
        return answer

    def times(self, count):
        return [float(t) for t in self.ask(count).split()]

    def close(self):
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except OSError:
            pass
        self.process.wait()


class Launch:
    """A process from its start to its end, as often as asked."""

    def __init__(self, command, environment):
        self.command, self.environment = command, environment
        if subprocess.run(command, env=environment, capture_output=True).returncode:
            raise RuntimeError("not available")

    def ask(self, line):
        return "saved"

    def times(self, count):
        found = []
        for _ in range(count):
            start = time.perf_counter()
            subprocess.run(self.command, env=self.environment, check=True, capture_output=True)
            found.append(time.perf_counter() - start)
        return found

    def close(self):
        pass


def error(a, b):
    """|a - b| / |b| in the Euclidean norm"""
    x, y = np.fromfile(a, np.float32).astype(np.float64), np.fromfile(b, np.float32).astype(np.float64)
    if x.size != y.size:
        return float("inf")
    return float(np.linalg.norm(x - y) / max(np.linalg.norm(y), 1e-300))


def main():
    options = argparse.ArgumentParser()
    options.add_argument("folder")
    options.add_argument("python")
    options.add_argument("generator")
    options.add_argument("--quick", action="store_true")
    options.add_argument("--only", action="append", default=[])
    options.add_argument("--without", action="append", default=[], help="a peer to leave out")
    options.add_argument("--seconds", type=float, default=20, help="about how long a row's rounds take")
    options.add_argument("--threads", type=int, default=os.cpu_count())
    options = options.parse_args()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OPENBLAS_", "GOTO_", "MKL_", "OMP_"))}
    environment["BENCH_THREADS"] = str(options.threads)
    prefix = ["chrt", "-f", "5"] if subprocess.run(["chrt", "-f", "5", "true"], capture_output=True).returncode == 0 else []
    print("priority:", " ".join(prefix) or "normal", flush=True)
    load = os.getloadavg()
    print("load average %.1f %.1f %.1f" % load)

    outputs = tempfile.TemporaryDirectory()

    def ours(row):
        if row == "first-adapter":
            return Launch([f"{options.folder}/loragen-cli", "generate", options.generator, "--bits", "0001100101",
                           "--threads", str(options.threads), "-o", f"{outputs.name}/ours"], environment)
        return Side(prefix + [f"{options.folder}/bench", row], environment)

    def peer(row, variant):
        if row == "first-adapter":
            return Launch([options.python, str(HERE / "first_adapter.py"), options.generator, "0001100101",
                           f"{outputs.name}/peer"], environment)
        return Side(prefix + [options.python, str(HERE / "peer.py"), row, variant], environment)

    side = ours("peak")
    peaks = [[float(x) for x in side.ask("peak").split()] for _ in range(3)]
    side.close()
    flops, bandwidth = (max(p[i] for p in peaks) for i in (0, 1))
    print(f"measured peaks, {options.threads} threads: {flops:.0f} GFLOP/s f32, {bandwidth:.1f} GB/s read\n")

    report = {}
    for row, (variants, operations, volume, goal) in ROWS.items():
        if options.only and not any(o in row for o in options.only):
            continue
        sides = {}
        for name in ["ours"] + [v for v in variants if v not in options.without]:
            try:
                sides[name] = ours(row) if name == "ours" else peer(row, name)
            except RuntimeError:
                print(f"{row}: {name} is not available")
        if "ours" not in sides or len(sides) < 2:
            continue
        with tempfile.TemporaryDirectory() as folder:
            errors = {}
            for name in list(sides):
                try:
                    sides[name].ask(f"{folder}/{name}")
                except RuntimeError:
                    print(f"{row}: {name} stopped")
                    del sides[name]
            for name in sides:
                if name != "ours" and row != "first-adapter":
                    errors[name] = error(f"{folder}/ours", f"{folder}/{name}")
        # About a tenth of a second a turn, so that each is over before another process gets in.
        warm = {name: min(s.times(2)) for name, s in sides.items()}
        counts = {name: max(1, min(200, int((0.03 if options.quick else 0.1) / t))) for name, t in warm.items()}
        turn = sum(PAUSE + warm[name] * (counts[name] + 1) for name in sides)
        rounds = 3 if options.quick else min(9, max(3, int(options.seconds / turn)))
        best = {name: [] for name in sides}
        for _ in range(rounds):
            for name, s in sides.items():
                time.sleep(PAUSE)
                s.times(1)
                best[name].append(statistics.median(s.times(counts[name])))
        for s in sides.values():
            s.close()
        entry = {"goal": goal, "rounds": rounds, "load_average": os.getloadavg()[0], "peak_gflops": flops,
                 "read_gbytes_per_s": bandwidth, "sides": {}}
        def compare(peers):
            fastest = min(peers, key=lambda n: statistics.median(best[n]))
            ratios = [p / o for p, o in zip(best[fastest], best["ours"])]
            ratio = statistics.median(best[fastest]) / statistics.median(best["ours"])
            return {"peer": fastest, "ratio": ratio, "spread": [min(ratios), max(ratios)]}

        peers = [n for n in sides if n != "ours"]
        entry["best"] = compare(peers)
        counted = peers if row.startswith(("sgemm", "linear")) else [n for n in peers if n in PYTORCH]
        entry["counted"] = compare(counted or peers)
        for name in sides:
            t = statistics.median(best[name])
            one = {"ms": t * 1e3, "min_ms": min(best[name]) * 1e3, "max_ms": max(best[name]) * 1e3}
            if operations:
                one["gflops"] = operations / t * 1e-9
                one["share_of_peak"] = one["gflops"] / flops
            if volume:
                one["gbytes_per_s"] = volume / t * 1e-9
            if name in errors:
                one["relative_difference"] = errors[name]
            entry["sides"][name] = one
        if row in TRAINING:
            for name in sides:
                fresh = ours(row) if name == "ours" else peer(row, name)
                before = int(fresh.ask("memory"))
                fresh.times(3)
                entry["sides"][name]["peak_mib"] = int(fresh.ask("memory")) / 2**20
                entry["sides"][name]["before_mib"] = before / 2**20
                fresh.close()
        report[row] = entry
        show(row, entry)
        save(report, options, environment)


def against(compared):
    low, high = compared["spread"]
    return f"{compared['ratio']:.2f} x {compared['peer']} ({low:.2f} to {high:.2f})"


def show(row, entry):
    counted, best = entry["counted"], entry["best"]
    mark = "reached" if counted["ratio"] >= entry["goal"] else "missed"
    print(f"{row}: {against(counted)}; goal {entry['goal']} {mark}"
          + (f"; {against(best)}" if best["peer"] != counted["peer"] else ""))
    for name, s in entry["sides"].items():
        line = f"    {name:12} {s['ms']:9.3f} ms ({s['min_ms']:.3f} to {s['max_ms']:.3f})"
        if "gflops" in s:
            line += f"  {s['gflops']:7.1f} GFLOP/s {100 * s['share_of_peak']:5.1f} %"
        if "gbytes_per_s" in s:
            line += f"  {s['gbytes_per_s']:6.1f} GB/s"
        if "relative_difference" in s:
            line += f"  difference {s['relative_difference']:.1e}"
        if "peak_mib" in s:
            line += f"  peak {s['peak_mib']:.0f} MiB ({s['before_mib']:.0f} before)"
        print(line, flush=True)


def cpu_name():
    text = pathlib.Path("/proc/cpuinfo").read_text()
    find = lambda key: re.search(rf"^{key}\s*: (.*)$", text, re.M).group(1).strip()
    return f"{find('model name')} family {find('cpu family')} model {find('model')}"


def save(report, options, environment):
    """Rows of an earlier run of the same day stay, so that the whole can be run in pieces."""
    if options.quick:
        return
    versions = subprocess.run(
        [options.python, "-c",
         "import torch, onnxruntime, numpy, json, sys\n"
         "print(json.dumps({'torch': torch.__version__, 'onnxruntime': onnxruntime.__version__, 'numpy': numpy.__version__}))"],
        capture_output=True, text=True, env=environment).stdout
    date = datetime.date.today().isoformat()
    name = re.sub(r"[^a-z0-9]+", "-", cpu_name().lower()).strip("-")
    path = HERE.parent / "results" / f"{name}-{date}.json"
    path.parent.mkdir(exist_ok=True)
    before = json.loads(path.read_text())["rows"] if path.exists() else {}
    rows = {row: report.get(row, before.get(row)) for row in ROWS if row in report or row in before}
    result = {"cpu": cpu_name(), "date": date, "threads": options.threads, "versions": json.loads(versions or "{}"),
              "rows": rows}
    path.write_text(json.dumps(result, indent=1) + "\n")
    path.with_suffix(".md").write_text(table(result))
    print(f"    in Benchmarks/results/{path.name} and {path.stem}.md")


def short(x):
    """Three digits, and none after the point from 100 on"""
    return f"{x:.0f}" if x >= 100 else f"{x:.3g}"


def table(result):
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    loads = [entry["load_average"] for entry in result["rows"].values()]
    lines = [
        f"# {result['cpu']}, {result['threads']} threads, {result['date']}", "", f"Peers: {versions}. Load average at each row: {min(loads):.1f} to {max(loads):.1f}.", "",
        "The goal counts the best PyTorch variant, and the best of all peers for the products (sgemm, linear).", "",
        "| work | ours, ms | best peer, ms | ratio (spread) | goal | best of all peers | GFLOP/s | of the peak "
        "| peak MiB, ours / peer |",
        "|---|---|---|---|---|---|---|---|---|"]
    notes = []
    for row, entry in result["rows"].items():
        counted, best = entry["counted"], entry["best"]
        mine, other = entry["sides"]["ours"], entry["sides"][counted["peer"]]
        low, high = counted["spread"]
        reached = counted["ratio"] >= entry["goal"]
        share = mine.get("share_of_peak")
        aim = f" (goal {100 * SHARES[row]:.0f} %)" if row in SHARES else ""
        peaks = [f"{s['peak_mib']:.0f}" if "peak_mib" in s else "" for s in (mine, other)]
        lines.append(
            f"| {row} | {short(mine['ms'])} | {short(other['ms'])} {counted['peer']} | {counted['ratio']:.2f} "
            f"({low:.2f} to {high:.2f}) | {entry['goal']} {'reached' if reached else '**missed**'} "
            f"| {best['ratio']:.2f} {best['peer']} | "
            + (f"{mine['gflops']:.0f} | {100 * share:.0f} %{aim}" if share else " | ") + f" | {' / '.join(filter(None, peaks))} |")
        if not reached:
            notes.append(f"- {row}: {roofline(row, entry)}")
    if notes:
        lines += ["", "What the machine allows where a goal was missed:", ""] + notes
    return "\n".join(lines) + "\n"


def roofline(row, entry):
    mine, other = entry["sides"]["ours"], entry["sides"][entry["counted"]["peer"]]
    if "gflops" not in mine:
        return f"{short(mine['ms'])} ms; no count of operations is kept for this row"
    operations = mine["gflops"] * mine["ms"] * 1e6
    volume = mine.get("gbytes_per_s", 0) * mine["ms"] * 1e6
    if volume < CACHE:
        volume = 0
    bounds = [operations / entry["peak_gflops"] * 1e-6, volume / entry["read_gbytes_per_s"] * 1e-6]
    text = f"{short(operations * 1e-9)} GFLOP at {entry['peak_gflops']:.0f} GFLOP/s take {short(bounds[0])} ms"
    if volume:
        text += f", {volume * 1e-6:.0f} MB at {entry['read_gbytes_per_s']:.0f} GB/s from memory {short(bounds[1])} ms"
    return text + f": at most {other['ms'] / max(bounds):.2f} x {entry['counted']['peer']} if no operation is saved"


main()
