#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Packs a folder of adapters of one shape into one safetensors file, one byte per weight.

For each PEFT key K the file has three tensors: K (I8 codes, one row per adapter),
K.scale and K.mean (F32, the shape of one adapter's K); value = mean + scale * code.
The mean is that of the train tasks, the scale is the largest difference / 127.
The metadata holds adapter_config (shared by all) and the manifest, whose lines are
in the order of the rows.

    python pack_corpus.py                   # corpus/ -> digits.corpus.safetensors
    python pack_corpus.py --unpack FOLDER   # digits.corpus.safetensors -> PEFT folders
    python pack_corpus.py --corpus FOLDER --packed FILE --no-measure    # a corpus of another base model
"""
import argparse
import json
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import evaluate

HERE = Path(__file__).resolve().parent


def shared_config(folders):
    """PEFT writes sets in no particular order; apart from that the texts have to agree."""
    configs = set()
    for folder in folders:
        config = json.loads((folder / "adapter_config.json").read_text())
        config["target_modules"] = sorted(config["target_modules"])
        configs.add(json.dumps(config, indent=2, sort_keys=True))
    if len(configs) != 1:
        raise SystemExit("the adapters differ in adapter_config.json")
    return configs.pop()


def pack(corpus, out):
    text = (corpus / "corpus.jsonl").read_text()
    manifest = [json.loads(line) for line in text.splitlines()]
    adapters = [load_file(corpus / line["path"] / "adapter_model.safetensors") for line in manifest]
    train = np.array([line["split"] == "train" for line in manifest])
    tensors = {}
    for key in sorted(adapters[0]):
        values = np.stack([adapter[key] for adapter in adapters]).astype(np.float64)
        mean = values[train].mean(0).astype(np.float32)
        delta = values - mean
        scale = (np.abs(delta).max(0) / 127).astype(np.float32)
        scale[scale == 0] = 1
        tensors[key] = np.clip(np.rint(delta / scale), -127, 127).astype(np.int8)
        tensors[key + ".scale"], tensors[key + ".mean"] = scale, mean
    save_file(tensors, str(out), metadata={
        "format": "loragen.corpus",
        "version": "1",
        "adapter_config": shared_config([corpus / line["path"] for line in manifest]),
        "manifest": text,
    })
    print(f"wrote {out}: {len(manifest)} adapters, {out.stat().st_size} bytes")
    return manifest, adapters


def compare(manifest, adapters, out):
    session, config = evaluate.open_session(), evaluate.packed_config(out)
    scores = {}
    for line, original, (_, restored) in zip(manifest, adapters, evaluate.read_packed(out)):
        both = [evaluate.accuracy(evaluate.predictions(session, evaluate.scaled(t, config)), line["task"])
                for t in (original, restored)]
        scores.setdefault(line["split"], []).append(both)
    for split, pairs in scores.items():
        original, restored = np.mean(pairs, 0)
        print(f"{split:<10}  {len(pairs)} tasks  originals {original:.4%}  unpacked {restored:.4%}")
        if split == "test" and abs(original - restored) > 1e-3:
            raise SystemExit("packing costs more than 0.1 point")


def unpack(packed, folder):
    folder.mkdir(parents=True, exist_ok=True)
    with safe_open(str(packed), "np") as file:
        metadata = file.metadata()
    for line, tensors in evaluate.read_packed(packed):
        target = folder / line["path"]
        target.mkdir(exist_ok=True)
        save_file(tensors, str(target / "adapter_model.safetensors"), metadata={"format": "pt"})
        (target / "adapter_config.json").write_text(metadata["adapter_config"])
    (folder / "corpus.jsonl").write_text(metadata["manifest"])
    print(f"wrote {folder}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=HERE / "corpus")
    parser.add_argument("--packed", type=Path, default=HERE / "digits.corpus.safetensors")
    parser.add_argument("--unpack", type=Path, metavar="FOLDER")
    parser.add_argument("--no-measure", action="store_true", help="do not compare accuracies on digits")
    args = parser.parse_args()
    if args.unpack:
        unpack(args.packed, args.unpack)
    else:
        manifest, adapters = pack(args.corpus, args.packed)
        if not args.no_measure:
            compare(manifest, adapters, args.packed)


if __name__ == "__main__":
    main()
