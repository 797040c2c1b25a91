#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures adapters on the 360 test images with ONNX Runtime; needs neither PyTorch nor PEFT.

    python evaluate.py FOLDER               # every FOLDER/<bits>/adapter_model.safetensors
    python evaluate.py corpus/corpus.jsonl --split test --json result.json
    python evaluate.py digits.corpus.safetensors --split test
    python evaluate.py --base               # the base model without an adapter, all 1022 tasks
"""
import argparse
import json
import time
from pathlib import Path

import numpy as np
import onnxruntime
from safetensors import safe_open
from safetensors.numpy import load_file

HERE = Path(__file__).resolve().parent
MEAN, STD = np.float32(0.3), np.float32(0.375)  # as in pretrain_base.py


def _test_set():
    with np.load(HERE / "test_images.npz") as data:
        pixels = (data["images"].astype(np.float32) / np.float32(16) - MEAN) / STD
        return pixels[:, None], data["labels"].astype(np.int64)


PIXELS, LABELS = _test_set()


def open_session(path=HERE / "base.onnx", threads=1):
    options = onnxruntime.SessionOptions()
    # The graph is too small for threads to pay; several processes scale better.
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # every run without an adapter would warn about rank zero
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def scaled(tensors, config):
    """lora_B times alpha / r: base.onnx adds (x A^T) B^T and knows of no scale."""
    scale = np.float32(config["lora_alpha"] / config["r"])
    return {k: np.ascontiguousarray(v, np.float32) * (scale if "lora_B" in k else np.float32(1)) for k, v in tensors.items()}


def load_adapter(path):
    """{PEFT key: float32 array} of a PEFT adapter folder, ready for base.onnx."""
    path = Path(path)
    config = json.loads((path / "adapter_config.json").read_text())
    return scaled(load_file(path / "adapter_model.safetensors"), config)


def predictions(session, adapter_tensors, pixels=PIXELS):
    """0 or 1 for each of the images, the 360 test ones; an empty dict stands for the base model."""
    logits = session.run(None, {"pixel_values": pixels, **adapter_tensors})[0]
    return logits.argmax(-1)


def accuracy(pred, bits):
    """Share of the test images that are answered as the task `bits` (ten characters) wants."""
    answers = np.array([int(bit) for bit in bits])
    return float((pred == answers[LABELS]).mean())


def read_packed(path):
    """Yields (manifest line, tensors as they were trained) of a file that pack_corpus.py wrote."""
    with safe_open(str(path), "np") as file:
        manifest = [json.loads(line) for line in file.metadata()["manifest"].splitlines()]
        keys = [k for k in file.keys() if not k.endswith((".scale", ".mean"))]
        parts = {k: (file.get_tensor(k), file.get_tensor(k + ".scale"), file.get_tensor(k + ".mean")) for k in keys}
    for i, line in enumerate(manifest):
        yield line, {k: mean + scale * codes[i].astype(np.float32) for k, (codes, scale, mean) in parts.items()}


def packed_config(path):
    with safe_open(str(path), "np") as file:
        return json.loads(file.metadata()["adapter_config"])


def adapters_of(source):
    """Yields (bits, split, adapter tensors) of a folder, a manifest or a packed corpus."""
    source = Path(source)
    if source.is_dir():
        for file in sorted(source.glob("*/adapter_model.safetensors")):
            name = file.parent.name
            if len(name) == 10 and set(name) <= {"0", "1"}:
                yield name, None, load_adapter(file.parent)
    elif source.suffix == ".jsonl":
        for text in source.read_text().splitlines():
            line = json.loads(text)
            yield line["bits"], line.get("split"), load_adapter(source.parent / line["path"])
    else:
        config = packed_config(source)
        for line, tensors in read_packed(source):
            yield line["bits"], line.get("split"), scaled(tensors, config)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", type=Path)
    parser.add_argument("--base", action="store_true", help="measure the base model")
    parser.add_argument("--model", type=Path, default=HERE / "base.onnx")
    parser.add_argument("--split", help="only tasks of this split; needs a manifest or a packed corpus")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the result to this file")
    parser.add_argument("--quiet", action="store_true", help="print the mean only")
    args = parser.parse_args()
    if bool(args.source) == args.base:
        parser.error("give either a source or --base")

    session = open_session(args.model, args.threads)
    result, start, inside = [], time.perf_counter(), 0.0
    if args.base:
        pred = predictions(session, {})
        result = [(bits, accuracy(pred, bits)) for bits in (format(i, "010b") for i in range(1, 1023))]
    else:
        for bits, split, tensors in adapters_of(args.source):
            if args.split and split != args.split:
                continue
            before = time.perf_counter()
            result.append((bits, accuracy(predictions(session, tensors), bits)))
            inside += time.perf_counter() - before
    if not result:
        parser.error("no adapters found")
    spent = time.perf_counter() - start
    scores = np.array([score for _, score in result])
    if not args.quiet:
        for bits, score in result:
            print(f"{bits}  {score:.4f}")
    print(f"{len(result)} tasks  mean {scores.mean():.4f}  std {scores.std():.4f}  min {scores.min():.4f}  "
          f"max {scores.max():.4f}")
    if not args.base:
        print(f"{1000 * spent / len(result):.2f} ms per adapter, {1000 * inside / len(result):.2f} ms of it inference")
    if args.json:
        args.json.write_text(json.dumps({
            "mean": float(scores.mean()),
            "std": float(scores.std()),
            "tasks": {bits: score for bits, score in result},
        }, indent=1) + "\n")


if __name__ == "__main__":
    main()
