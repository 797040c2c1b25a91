#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fine-tunes the checkpoints that the unconditional experiments learn from, and packs them.

    python train_checkpoints.py             # about a minute

Each run fine-tunes one task as examples/digits/train_adapters.py does, from an initialisation and with an order of images of
its own (its seed), and then goes on for one more epoch at a small constant learning rate. Adapters are kept from that epoch,
as the paper does:

    checkpoints.corpus.safetensors          one run, one after each of the epoch's 50 steps
    runs.corpus.safetensors                 ten runs, five each

Neither has a condition: an adapter's `run` in the manifest is all that tells them apart. Needs what train_adapters.py needs.
"""
import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "digits"))

import pack_corpus  # noqa: E402
import train_adapters  # noqa: E402

CHECKPOINTS, RUNS, RUN_CHECKPOINTS = 50, 10, 5


def checkpoints(trainer, args, keep):
    """Yields (step, accuracy) with the trainer's model as it is after every `keep`-th step of one more epoch."""
    answers = train_adapters.answers_of(args.task)
    trainer.fit(answers)
    x, y, _, _ = train_adapters.load_data()
    x, y = train_adapters.to_pixel_values(x), torch.from_numpy(y)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1000 + trainer.args.seed))
    size = len(x) // CHECKPOINTS
    optimizer = trainer.optimizer(args.lr)
    for step in range(1, CHECKPOINTS + 1):
        index = order[(step - 1) * size : step * size]
        trainer.step(optimizer, x[index], answers[y[index]])
        if step % keep == 0:
            yield step, trainer.accuracy(answers)


def train_corpus(folder, seeds, keep, args):
    lines = []
    for seed in seeds:
        options = train_adapters.make_parser().parse_args(["--seed", str(seed), "--threads", str(args.threads)])
        trainer = train_adapters.Trainer(options)
        for step, score in checkpoints(trainer, args, keep):
            path = f"run{seed}-step{step:02}"
            trainer.save(folder / path)
            lines.append({"path": path, "task": args.task, "run": f"run{seed}", "split": "train",
                          "scores": {"test_accuracy": round(score, 6)}})
        scores = [line["scores"]["test_accuracy"] for line in lines if line["run"] == f"run{seed}"]
        print(f"run {seed}: {len(scores)} checkpoints, {min(scores):.4f} to {max(scores):.4f}", flush=True)
    (folder / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="0001100101", help="ten bits")
    parser.add_argument("--lr", type=float, default=3e-4, help="of the last epoch; a tenth of the first ones'")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=HERE)
    args = parser.parse_args()
    for name, seeds, keep in (("checkpoints", [0], 1), ("runs", range(RUNS), CHECKPOINTS // RUN_CHECKPOINTS)):
        with tempfile.TemporaryDirectory() as folder:
            train_corpus(Path(folder), seeds, keep, args)
            packed = args.out / f"{name}.corpus.safetensors"
            pack_corpus.compare(*pack_corpus.pack(Path(folder), packed), packed)


if __name__ == "__main__":
    main()
