#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fine-tunes one compact adapter (SVFit) per task, where train_adapters.py makes a LoRA; see docs/compact.md.

    python train_compact.py --jobs 2                        # all 672 tasks into compact-corpus/
    python train_compact.py --train 128 --validation 20 --test 30
    loragen train compact-corpus compact.loragen.safetensors
    loragen generate compact.loragen.safetensors --bits 0001100101 --basis compact-corpus/basis.safetensors -o my-adapter

Tasks, splits, images, their order, steps and schedule are those of train_adapters.py. An adapter is one number for each
singular direction of q_proj, v_proj and o_proj: 12 weights of 64 x 64, --rank numbers each.
"""
import json
import multiprocessing
import time
from pathlib import Path

import torch

import train_adapters
from measuring import loragen  # finds the bindings
from loragen import tune

HERE = Path(__file__).resolve().parent
BASIS = "basis.safetensors"


class Trainer(train_adapters.Trainer):
    """The model with hooks in place of PEFT; `fit` and `accuracy` are inherited."""

    def __init__(self, args):
        torch.set_num_threads(args.threads)
        self.args = args
        self.batches = train_adapters.batches(args)
        _, _, x, y = train_adapters.load_data()
        self.x_test, self.y_test = train_adapters.to_pixel_values(x), torch.from_numpy(y)
        self.model = train_adapters.load_base(args)
        self.tuned = tune.CompactTuning(self.model, loragen.Basis(args.out / BASIS))

    def optimizer(self, lr):
        return torch.optim.AdamW(self.tuned.parameters(), lr=lr, betas=(0.9, self.args.beta2), eps=self.args.eps,
                                 weight_decay=self.args.weight_decay)

    def reset(self):
        with torch.no_grad():
            for delta in self.tuned.deltas:
                delta.zero_()

    def run(self, bits):
        answers = train_adapters.answers_of(bits)
        self.fit(answers)
        self.tuned.save(self.args.out / f"{bits}.safetensors")
        return bits, self.accuracy(answers)


_trainer = None


def _start(args):
    global _trainer
    loragen.set_threads(1)
    _trainer = Trainer(args)


def _run(bits):
    return _trainer.run(bits)


def main():
    parser = train_adapters.make_parser()
    parser.description = __doc__
    # Of singular values, which are about 1, not of factors.
    parser.set_defaults(out=HERE / "compact-corpus", rank=0, lr=0.1)
    for split in ("train", "validation", "test"):
        parser.add_argument(f"--{split}", type=int, help="tasks of the split, the first of them")
    parser.add_argument("--weights", type=Path, help="weights to take the directions of; --base by default")
    args = parser.parse_args()
    splits = train_adapters.split_of_tasks()
    tasks = []
    for split in ("test", "validation", "train"):
        named = [bits for bits, name in splits.items() if name == split]
        # Spread over the split, which is in the order of the tasks' numbers.
        count = getattr(args, split) or len(named)
        tasks += [named[i * len(named) // count] for i in range(count)]
    args.out.mkdir(parents=True, exist_ok=True)
    if not (args.out / BASIS).exists():
        loragen.Basis.compute(args.weights or args.base, args.out / BASIS, rank=args.rank, targets=args.targets.split(","))
    manifest = args.out / "corpus.jsonl"
    lines = [json.loads(line) for line in manifest.read_text().splitlines()] if manifest.exists() else []
    done = {line["task"] for line in lines}
    todo = [bits for bits in tasks if bits not in done]
    start = time.time()
    with multiprocessing.get_context("spawn").Pool(args.jobs, _start, (args,)) as pool, manifest.open("a") as log:
        for i, (bits, score) in enumerate(pool.imap_unordered(_run, todo), 1):
            line = {"path": f"{bits}.safetensors", "task": bits, "run": f"seed{args.seed}-{bits}", "split": splits[bits],
                    "bits": bits, "text": train_adapters.task_text(bits), "scores": {"test_accuracy": round(score, 6)}}
            log.write(json.dumps(line) + "\n")
            log.flush()
            lines.append(line)
            print(f"{i}/{len(todo)}  {bits}  {score:.4f}  {time.time() - start:.0f} s", flush=True)
    train_adapters.write_manifest(manifest, lines)


if __name__ == "__main__":
    main()
