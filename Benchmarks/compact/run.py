"""Bases and expansion, beside PyTorch and PEFT on the same weights in one run.

    python Benchmarks/compact/run.py LORAGEN [--work FOLDER] [--only basis,loldu,sigma,peers,expand] [--json FILE]  # FILE is added to

LORAGEN is the installed command. Weights are random bfloat16 numbers: a flat spectrum, the hard case of every iteration.
Needs numpy, torch and peft; two gigabytes for the weights of LLaMA-2-7B's q and v. Times are wall-clock and CPU seconds of each
side with the same number of threads, so that what else runs on the machine shows.
"""
import argparse
import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("loragen")
parser.add_argument("--work", default="/tmp/loragen-bench-compact")
parser.add_argument("--only", default="basis,loldu,sigma,peers,expand")
parser.add_argument("--layers", type=int, default=32)
parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
parser.add_argument("--json")
arguments = parser.parse_args()
work = Path(arguments.work)
work.mkdir(parents=True, exist_ok=True)
results = {"threads": arguments.threads, "cpu": next(
    (line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")}
N, RANK = 4096, 16


def write(path, tensors, metadata=None):
    """A safetensors file of (name, dtype, shape, bytes)."""
    header, place = {"__metadata__": metadata} if metadata else {}, 0
    for name, dtype, shape, size, _ in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for *_, make in tensors:
            file.write(make())


def bf16(seed, m, n):
    values = np.random.default_rng(seed).standard_normal((m, n), dtype=np.float32) * 0.02
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def widened(seed, m=N, n=N):
    return (bf16(seed, m, n).astype(np.uint32) << 16).view(np.float32)


def base(folder, layers):
    if (folder / "model.safetensors.index.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    index = {}
    for shard in range(0, layers, 8):
        name = f"model-{shard}.safetensors"
        tensors = []
        for layer in range(shard, min(shard + 8, layers)):
            for i, kind in enumerate("qv"):
                key = f"model.layers.{layer}.self_attn.{kind}_proj.weight"
                index[key] = name
                tensors.append((key, "BF16", [N, N], 2 * N * N, lambda s=2 * layer + i: bf16(s, N, N).tobytes()))
        write(folder / name, tensors)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


def loragen(*words):
    """Wall seconds, CPU seconds and the peak of resident memory in MB of a command."""
    start, peak = time.perf_counter(), 0
    process = subprocess.Popen([arguments.loragen, *map(str, words)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    status = Path(f"/proc/{process.pid}/status")
    while True:
        done, code, usage = os.wait4(process.pid, os.WNOHANG)
        if done:
            break
        # Not ru_maxrss, which begins with what this process had when it forked.
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                peak = max(peak, int(line.split()[1]))
        time.sleep(0.002)
    assert code == 0, words
    return {
        "wall_s": round(time.perf_counter() - start, 2), "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mb": round(peak / 1000)}


def show(name, value):
    results[name] = value
    print(name, json.dumps(value), flush=True)


def sigma_of(path, count):
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        start = file.tell()
        found = {}
        for name, entry in header.items():
            if name.endswith(".sigma"):
                file.seek(start + entry["data_offsets"][0])
                found[name[:-6]] = np.frombuffer(file.read(4 * entry["shape"][0]), np.float32)
    return found


steps = arguments.only.split(",")
llama, pack = work / "llama", work / "llama.basis.safetensors"
threads = ("--threads", arguments.threads)
if {"basis", "loldu", "sigma"} & set(steps):
    base(llama, arguments.layers)
if "basis" in steps:
    took = loragen("basis", llama, "-o", pack, "--rank", RANK, "--memory-limit", "1G", *threads)
    show("basis of q and v", took | {"matrices": 2 * arguments.layers, "shape": [N, N], "rank": RANK})
if "loldu" in steps:
    took = loragen("basis", llama, "-o", work / "lu.safetensors", "--rank", RANK, "--method", "loldu", *threads)
    show("LoLDU of q and v", took | {"matrices": 2 * arguments.layers})
if "sigma" in steps:
    found, worst = sigma_of(pack, RANK), 0.0
    for seed, name in ((0, "model.layers.0.self_attn.q_proj"), (1, "model.layers.0.self_attn.v_proj")):
        exact = np.linalg.svd(widened(seed), compute_uv=False)[:RANK]
        worst = max(worst, float(np.abs(found[name] / exact - 1).max()))
    show("sigma against gesdd", {"largest_relative_error": worst})

if "peers" in steps:
    import torch

    torch.set_num_threads(arguments.threads)
    one = work / "one.safetensors"
    write(one, [("model.layers.0.self_attn.q_proj.weight", "BF16", [N, N], 2 * N * N, lambda: bf16(0, N, N).tobytes())])
    weight = torch.from_numpy(widened(0))

    def timed(make):
        start, cpu = time.perf_counter(), time.process_time()
        made = make()
        return made, {"wall_s": round(time.perf_counter() - start, 2), "cpu_s": round(time.process_time() - cpu, 2)}

    def residual(u, s, v):
        """The largest of |Wv - su| and |W'u - sv| over s, of the first RANK."""
        u, s, v = u[:, :RANK].double(), s[:RANK].double(), v[:, :RANK].double()
        w = weight.double()
        return float(torch.maximum((w @ v - u * s).norm(dim=0) / s, (w.T @ u - v * s).norm(dim=0) / s).max())

    out = work / "one.basis.safetensors"
    loragen("basis", one, "-o", out, "--rank", RANK, *threads)
    for niter in (4, 16, 64, 128, 256):
        (u, s, v), theirs = timed(lambda: torch.svd_lowrank(weight, q=RANK + 16, niter=niter))
        reached = residual(u, s, v)
        # Half of what they reached, so that what we are held against is no easier.
        ours = loragen("basis", one, "-o", out, "--rank", RANK, "--tolerance", min(0.05, reached / 2), *threads)
        show(f"svd_lowrank, niter {niter}", {
            "residual": reached, "theirs": theirs, "ours_at_half_of_it": ours,
            "ratio_cpu": round(theirs["cpu_s"] / ours["cpu_s"], 1), "ratio_wall": round(theirs["wall_s"] / ours["wall_s"], 1)})
    ours = loragen("basis", one, "-o", out, "--rank", RANK, *threads)
    _, theirs = timed(lambda: torch.linalg.svd(weight, full_matrices=False))
    show("full SVD", {
        "theirs": theirs, "ours_at_1e-5": ours, "ratio_cpu": round(theirs["cpu_s"] / ours["cpu_s"], 1),
        "ratio_wall": round(theirs["wall_s"] / ours["wall_s"], 1)})
    from peft import LoraConfig, get_peft_model

    for kind in ("pissa_niter_4", "pissa"):
        model = torch.nn.Sequential(torch.nn.Linear(N, N, bias=False))
        with torch.no_grad():
            model[0].weight.copy_(weight)
        _, theirs = timed(lambda: get_peft_model(
            model, LoraConfig(r=RANK, target_modules=["0"], init_lora_weights=kind)))
        show(f"PEFT, init_lora_weights={kind}", theirs)

if "expand" in steps:
    # What is expanded does not matter for the time: unit vectors for directions, of all projections of the 7B model.
    full = work / "full.basis.safetensors"
    shapes = {"self_attn.q_proj": (4096, 4096), "self_attn.k_proj": (4096, 4096), "self_attn.v_proj": (4096, 4096),
              "self_attn.o_proj": (4096, 4096), "mlp.gate_proj": (11008, 4096), "mlp.up_proj": (11008, 4096),
              "mlp.down_proj": (4096, 11008)}
    names = sorted((f"model.layers.{i}.{k}" for i in range(32) for k in shapes),
                   key=lambda n: f"base_model.model.{n}.lora_A.weight".encode())
    random = np.random.default_rng(0)

    def unit(m, n, axis):
        values = random.standard_normal((m, n), dtype=np.float32)
        return (values / np.linalg.norm(values, axis=axis, keepdims=True)).tobytes()

    tensors, modules = [], []
    for name in names:
        m, n = shapes[name.split(".", 3)[3]]
        modules.append({"name": name, "kind": "linear", "inputs": n, "outputs": m, "rank": RANK, "alpha": RANK})
        tensors += [
            (name + ".left", "F32", [m, RANK], 4 * m * RANK, lambda m=m: unit(m, RANK, 0)),
            (name + ".right", "F32", [RANK, n], 4 * n * RANK, lambda n=n: unit(RANK, n, 1)),
            (name + ".sigma", "F32", [RANK], 4 * RANK, lambda: np.ones(RANK, np.float32).tobytes())]
    write(full, tensors, {
        "format": "loragen.basis", "version": "1", "method": "svfit", "orientation": "out_in",
        "layout": json.dumps({"version": 1, "modules": modules}),
        "fingerprints": json.dumps({n: "0" * 32 for n in names}),
        "fit": json.dumps({n: {"residual": 0.0, "gap": None} for n in names})})
    os.environ.setdefault("LORAGEN_LIBRARY", str(Path(arguments.loragen).resolve().parent.parent / "lib/libloragen.so.0"))
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bindings/python/src"))
    import loragen as library

    basis = library.Basis(full)
    compact = work / "full.compact.safetensors"
    library.CompactAdapter.create(basis, np.random.default_rng(1).standard_normal(RANK * len(names))).save(compact)
    took = []
    for dtype in ("float32", "float16"):
        for _ in range(3):
            took.append(loragen("expand", compact, "--basis", full, "-o", work / "expanded", "--dtype", dtype, *threads))
        best = min(took[-3:], key=lambda t: t["wall_s"])
        show(f"expand of {len(names)} modules, {dtype}", best | {
            "all_wall_s": [t["wall_s"] for t in took[-3:]], "compact_file_bytes": compact.stat().st_size,
            "basis_file_mb": round(full.stat().st_size / 1e6)})

if arguments.json:
    path = Path(arguments.json)
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(before | results, indent=2) + "\n")
