#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Generators of compact adapters beside the same generators of LoRA, on the same tasks.

    python train_compact.py --train 128 --validation 16 --test 32 --jobs 2     # the compact corpus
    python compact.py [--record]                                               # results/compact.json

The tasks are those of compact-corpus/; their LoRA adapters come from the packed corpus. Every generator is trained on both, makes
an adapter for each held-out task (a compact one is expanded with the basis), and the base model with it is measured in ONNX
Runtime on the test images.
"""
import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

import evaluate
import measuring
from measuring import loragen

HERE = Path(__file__).resolve().parent
METHODS = ("mean", "nearest", "ridge", "kernel-ridge", "mlp", "cond-pdiff")


def summary(scores):
    return {"mean": round(100 * float(np.mean(scores)), 2), "deviation": round(100 * float(np.std(scores)), 2)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=HERE / "compact-corpus")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    lines = [json.loads(line) for line in (args.corpus / "corpus.jsonl").read_text().splitlines()]
    tasks = {line["task"]: line["split"] for line in lines}
    test = [bits for bits, split in tasks.items() if split == "test"]
    basis = loragen.Basis(args.corpus / "basis.safetensors")
    session = evaluate.open_session()
    work = Path(tempfile.mkdtemp())

    def accuracy(adapters, bits):
        adapters[0].save(work / "adapter")
        score = evaluate.accuracy(evaluate.predictions(session, evaluate.load_adapter(work / "adapter")), bits)
        shutil.rmtree(work / "adapter")
        return score

    packed = loragen.Corpus(measuring.CORPUS)
    packed.unpack(work / "lora")
    kept = [line for line in (work / "lora/corpus.jsonl").read_text().splitlines() if json.loads(line)["task"] in tasks]
    kept = [json.dumps(json.loads(line) | {"split": tasks[json.loads(line)["task"]]}) for line in kept]
    (work / "lora/corpus.jsonl").write_text("\n".join(kept) + "\n")
    paths = {json.loads(line)["task"]: work / "lora" / json.loads(line)["path"] for line in kept}
    results = {"tasks": {s: sum(v == s for v in tasks.values()) for s in ("train", "validation", "test")}}
    compact = {bits: loragen.CompactAdapter(args.corpus / f"{bits}.safetensors") for bits in test}
    results["fine-tuned"] = {
        "lora": summary([accuracy(loragen.Adapters(paths[bits]), bits) for bits in test]),
        "compact": summary([accuracy(compact[bits].expand(basis), bits) for bits in test])}
    results["numbers"] = {"lora": 6144, "compact": int(len(next(iter(compact.values())).deltas))}
    print(json.dumps(results), flush=True)
    for method in args.methods.split(","):
        row = results[method] = {}
        for kind, folder in (("lora", work / "lora"), ("compact", args.corpus)):
            path = work / f"{method}-{kind}.loragen.safetensors"
            start, cpu = time.perf_counter(), time.process_time()
            generator = loragen.train(loragen.Corpus(folder), path, method=method)
            row[kind] = {"training_s": round(time.perf_counter() - start, 2),
                         "training_cpu_s": round(time.process_time() - cpu, 2), "file_bytes": path.stat().st_size}
            with generator:
                scores, spent = [], []
                for bits in test:
                    start = time.perf_counter()
                    adapters = generator.generate(bits=bits, basis=basis if kind == "compact" else None)
                    spent.append(time.perf_counter() - start)
                    scores.append(accuracy(adapters, bits))
                row[kind] |= summary(scores) | {"sampling_ms": round(1000 * float(np.median(spent)), 2)}
                if kind == "compact":
                    spent = []
                    for bits in test:
                        start = time.perf_counter()
                        generator.generate_compact(bits=bits)
                        spent.append(time.perf_counter() - start)
                    row[kind]["sampling_without_expansion_ms"] = round(1000 * float(np.median(spent)), 2)
        print(method, json.dumps(row), flush=True)
    shutil.rmtree(work)
    if args.record:
        (HERE / "results/compact.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
