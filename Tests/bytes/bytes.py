#!/usr/bin/env python3
"""Holds the bytes of generated adapters against those that were committed, for every method and baseline.

    LORAGEN_LIBRARY=lib/libloragen.so.0 python Tests/bytes/bytes.py [--record] [--quick]

Each row is a short training on a committed corpus, early stop off, and two adapters that are drawn from it; with 1, 2 and 5
threads. The digests are of the tensors' bytes. Vector units and OpenBLAS's kernels differ between processors, and so do
the last bits: digests are kept for each kind of processor (bytes.json), and on one that has none only the thread counts
are compared. --record writes this machine's digests: only for a change that is meant to change bytes.
"""

import argparse
import hashlib
import json
import os
import pathlib
import sys
import tempfile
import time

from safetensors import safe_open
from safetensors.numpy import save_file

here = pathlib.Path(__file__).resolve().parent
root = here.parent.parent
sys.path.insert(0, str(root / "bindings/python/src"))
import loragen  # noqa: E402

DIGITS, RUNS = root / "examples/digits/digits.corpus.safetensors", root / "examples/rpg/runs.corpus.safetensors"
EVERY = 7  # adapter of the digits; all of them take ten times as long
NEVER = {"patience": 1_000_000}

# name: corpus, method, preset, settings
ROWS = {
    "mean": (DIGITS, "mean", "default", {}),
    "mean, factors": (DIGITS, "mean", "factors", {}),
    "mean, canonical factors": (DIGITS, "mean", "factors", {"factors": "canonical", "normaliser": "per-element"}),
    "nearest": (DIGITS, "nearest", "default", {}),
    "ridge": (DIGITS, "ridge", "default", {}),
    "ridge, aligned factors": (DIGITS, "ridge", "factors", {"factors": "aligned"}),
    "ridge-pairs": (DIGITS, "ridge-pairs", "default", {}),
    "kernel-ridge": (DIGITS, "kernel-ridge", "default", {}),
    "mlp": (DIGITS, "mlp", "default", {"steps": 30, **NEVER}),
    "cond-pdiff": (DIGITS, "cond-pdiff", "default", {"steps": 30, "guidance": 2.0, **NEVER}),
    "cond-pdiff, nlp": (DIGITS, "cond-pdiff", "nlp-small", {
        "autoencoderSteps": 2, "steps": 2, "batch": 4, "autoencoderBatch": 4, "sampler": "ddim", "samplingSteps": 3}),
    "cond-pdiff, vision": (DIGITS, "cond-pdiff", "vision", {
        "autoencoderSteps": 2, "steps": 2, "batch": 4, "autoencoderBatch": 4, "sampler": "ddim", "samplingSteps": 3}),
    "cond-pdiff, pdiff": (RUNS, "cond-pdiff", "pdiff", {"autoencoderSteps": 3, "steps": 3, "sampler": "ddim", "samplingSteps": 3}),
    "rpg": (DIGITS, "rpg", "default", {"steps": 4, "width": 64, "denoiserWidth": 64, "guidance": 2.0, **NEVER}),
    "rpg without a start": (DIGITS, "rpg", "default", {
        "steps": 4, "width": 64, "denoiserWidth": 64, "start": "none", "recurrence": "transformer", **NEVER}),
    "rpg, tiny": (RUNS, "rpg", "tiny", {"steps": 2, "samplingSteps": 3, "sampler": "ddim"}),
    "rpg, bfloat16": (RUNS, "rpg", "tiny", {"steps": 2, "samplingSteps": 3, "sampler": "ddim", "weights": "bfloat16"}),
}
QUICK = ["mean, canonical factors", "kernel-ridge", "mlp", "cond-pdiff", "rpg", "rpg, tiny"]


def processor() -> str:
    """What the choice of kernels depends on."""
    fields = {}
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    wide = [f for f in ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16") if f in fields.get("flags", "").split()]
    return " ".join([fields.get("vendor_id", "?"), fields.get("cpu family", "?"), fields.get("model", "?"), *wide])


def part(corpus: pathlib.Path, folder: str) -> str:
    """Every seventh adapter of a packed corpus, as a packed corpus."""
    target = os.path.join(folder, "part.safetensors")
    with safe_open(corpus, "np") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}
    lines = metadata["manifest"].splitlines()
    metadata["manifest"] = "\n".join(lines[::EVERY]) + "\n"
    for name, values in tensors.items():
        if len(values) == len(lines) and not name.endswith((".mean", ".scale")):
            tensors[name] = values[::EVERY].copy()
    save_file(tensors, target, metadata)
    return target


def digest(name: str, threads: int, folder: str) -> str:
    corpus, method, preset, settings = ROWS[name]
    if corpus == DIGITS:
        corpus = part(corpus, folder)
    loragen.set_threads(threads)
    path = os.path.join(folder, "generator.safetensors")
    generator = loragen.train(corpus, path, method=method, preset=preset, settings=settings, seed=3)
    found = hashlib.sha256()
    kind = generator.condition_kind
    for bits in ["0011010110", "1111100000"] if kind == "bits" else [None]:
        for adapter in generator.generate(bits=bits, seed=7, samples=2):
            for tensor, array in sorted(adapter.arrays().items()):
                found.update(f"{tensor} {array.shape}".encode())
                found.update(array.tobytes())
    return found.hexdigest()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--record", action="store_true")
    options.add_argument("--quick", action="store_true", help="six rows, and threads 1 and 2 alone")
    chosen = options.parse_args()
    file = here / "bytes.json"
    committed = json.loads(file.read_text()) if file.exists() else {}
    known = committed.get(processor(), {})
    if not known and not chosen.record:
        print(f"no digests for {processor()}: thread counts alone are compared")
    failed, found = [], {}
    for name in QUICK if chosen.quick else ROWS:
        start = time.time()
        with tempfile.TemporaryDirectory() as folder:
            digests = [digest(name, threads, folder) for threads in ((1, 2) if chosen.quick else (1, 2, 5))]
        found[name] = digests[0]
        state = "equal"
        if len(set(digests)) > 1:
            state = "DIFFERS between thread counts"
        elif not chosen.record and known.get(name, digests[0]) != digests[0]:
            state = "DIFFERS from what was committed"
        if state != "equal":
            failed.append(name)
        print(f"{name:26} {digests[0][:16]} {state} ({time.time() - start:.1f} s)", flush=True)
    if chosen.record and not failed:
        committed[processor()] = found
        file.write_text(json.dumps(committed, indent=1) + "\n")
    if failed:
        sys.exit("bytes of generated adapters: " + ", ".join(failed))


main()
