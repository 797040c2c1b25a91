#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures adapters on the test definitions of their tasks: base, mean adapter, another task's, the task's own.

    python evaluate.py                 # those of the packed corpus, on the held-out tasks
    python evaluate.py FOLDER          # PEFT folders that are named as the tasks are, FOLDER/food-not-animal/...
"""
import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file

import measuring
from corpus import Corpus, sides


def of_folder(folder, lines):
    """Adapters in FOLDER for these lines of the manifest: per PEFT key [tasks, ...]."""
    adapters = [load_file(folder / line["task"] / "adapter_model.safetensors") for line in lines]
    return {key: np.stack([adapter[key] for adapter in adapters]) for key in adapters[0]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    corpus, measure = Corpus(), measuring.Measure()
    mean = {key: value[corpus.train].mean(0) for key, value in corpus.tensors.items()}
    for group, rows in {"validation": corpus.validation, **corpus.test}.items():
        lines = [corpus.lines[i] for i in rows]
        if args.folder:
            lines = [line for line in lines if (args.folder / line["task"]).is_dir()]
            contenders = {str(args.folder): of_folder(args.folder, lines)} if lines else {}
        else:
            own = corpus.rows(rows)
            contenders = {"base model": None,
                          "mean adapter": {key: np.repeat(value[None], len(rows), 0) for key, value in mean.items()},
                          "another task's": {key: np.roll(value, 1, 0) for key, value in own.items()},
                          "fine-tuned, from the packed corpus": own}
            scores = [100 * line["scores"]["test_accuracy"] for line in lines]
            print(f"{group}, fine-tuned: {np.mean(scores):.2f} ± {np.std(scores):.2f}")
        for name, adapters in contenders.items():
            scores = 100 * np.array(measure(adapters, [sides(line) for line in lines]))
            print(f"{group}, {name}: {scores.mean():.2f} ± {scores.std():.2f}")


if __name__ == "__main__":
    main()
