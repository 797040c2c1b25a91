#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fine-tunes one PEFT LoRA adapter per task and lists them in a manifest.

A task asks "is the digit in this set?" and is named by ten bits, the first one
for class 0 and the last one for class 9.

    python train_adapters.py --jobs 2                       # all 672 tasks
    python train_adapters.py --tasks test --jobs 2          # one split
    python train_adapters.py --tasks 0001100101,884         # bits or ids 1..1022

Tasks already in the manifest are skipped, so an interrupted run can be repeated.

To use a model of your own, replace `load_base`, `batches` and `accuracy`, name the
layers in --targets, and give every task a row of numbers ("bits") or a "text".
What helps a generator is that the runs differ by the task alone: all of them start
from the same LoRA initialisation (--seed), see the same examples in the same order
and end with a learning rate of zero.
"""
import argparse
import json
import multiprocessing
import random
import time
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from transformers import ViTForImageClassification

from pretrain_base import load_data, shifted, to_pixel_values

HERE = Path(__file__).resolve().parent
SPLITS = {"train": 512, "validation": 50, "test": 110}
# Always held out, so that numbers of different versions of the example can be compared.
FIXED_TEST = [101, 111, 128, 141, 197, 238, 278, 279, 314, 383,
              462, 482, 502, 589, 592, 643, 653, 793, 884, 1001]


def task_bits(task_id):
    return format(task_id, "010b")


def task_text(bits):
    digits = [str(i) for i, bit in enumerate(bits) if bit == "1"]
    if len(digits) == 1:
        return f"Is the digit {digits[0]}?"
    return f"Is the digit one of {', '.join(digits[:-1])} and {digits[-1]}?"


def answers_of(bits):
    return torch.tensor([int(bit) for bit in bits])


def split_of_tasks(seed=0):
    """{bits: split} in the order of the manifest."""
    rest = [i for i in range(1, 1023) if i not in FIXED_TEST]
    random.Random(seed).shuffle(rest)
    extra = SPLITS["test"] - len(FIXED_TEST)
    test = sorted(FIXED_TEST + rest[:extra])
    validation = sorted(rest[extra : extra + SPLITS["validation"]])
    start = extra + SPLITS["validation"]
    train = sorted(rest[start : start + SPLITS["train"]])
    named = [("train", train), ("validation", validation), ("test", test)]
    return {task_bits(i): name for name, ids in named for i in ids}


def load_base(args):
    return ViTForImageClassification.from_pretrained(args.base)


def batches(args):
    """Every step's images and digit classes, made once and shared by all tasks."""
    x, y, _, _ = load_data()
    x, y = to_pixel_values(x), torch.from_numpy(y)
    generator = torch.Generator().manual_seed(args.seed)
    result, order = [], torch.empty(0, dtype=torch.long)
    for _ in range(args.steps):
        while len(order) < args.batch:
            order = torch.cat([order, torch.randperm(len(x), generator=generator)])
        index, order = order[: args.batch], order[args.batch :]
        images = shifted(x[index], generator) if args.shift else x[index]
        result.append((images, y[index]))
    return result


class Trainer:
    """One per process: the model is built once and its LoRA weights are reset for each task."""

    def __init__(self, args):
        torch.set_num_threads(args.threads)
        self.args = args
        self.batches = batches(args)
        _, _, x, y = load_data()
        self.x_test, self.y_test = to_pixel_values(x), torch.from_numpy(y)
        config = LoraConfig(
            r=args.rank,
            lora_alpha=args.alpha,
            target_modules=args.targets.split(","),
            lora_dropout=0.0,
            bias="none",
        )
        torch.manual_seed(args.seed)  # decides the initial A; B starts at zero
        self.model = get_peft_model(load_base(args), config)
        self.model.peft_config["default"].base_model_name_or_path = args.base_name
        self.initial = {k: v.clone() for k, v in get_peft_model_state_dict(self.model).items()}

    def accuracy(self, answers):
        self.model.eval()
        with torch.no_grad():
            predicted = self.model(pixel_values=self.x_test).logits.argmax(-1)
        return (predicted == answers[self.y_test]).float().mean().item()

    def optimizer(self, lr):
        args, parameters = self.args, [p for p in self.model.parameters() if p.requires_grad]
        return torch.optim.AdamW(parameters, lr=lr, betas=(0.9, args.beta2), eps=args.eps,
                                 weight_decay=args.weight_decay, fused=True)

    def step(self, optimizer, images, wanted):
        self.model.train()
        logits = self.model(pixel_values=images).logits
        loss = torch.nn.functional.cross_entropy(logits, wanted, label_smoothing=self.args.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    def reset(self):
        set_peft_model_state_dict(self.model, self.initial)

    def fit(self, answers):
        """Fine-tunes from the initial adapter; `answers` [10] are 0 or 1 for each digit."""
        args = self.args
        self.reset()
        optimizer = self.optimizer(args.lr)
        warmup = max(1, int(args.warmup * args.steps))
        schedule = torch.optim.lr_scheduler.SequentialLR(
            optimizer,
            [
                torch.optim.lr_scheduler.LinearLR(optimizer, 1.0 / warmup, 1.0, warmup),
                torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.steps - warmup),
            ],
            [warmup],
        )
        for images, digits in self.batches:
            self.step(optimizer, images, answers[digits])
            schedule.step()

    def save(self, folder):
        self.model.save_pretrained(folder, save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # an empty model card

    def run(self, bits):
        answers = answers_of(bits)
        self.fit(answers)
        self.save(self.args.out / bits)
        return bits, self.accuracy(answers)


_trainer = None


def _start(args):
    global _trainer
    _trainer = Trainer(args)


def _run(bits):
    return _trainer.run(bits)


def write_manifest(path, lines):
    order = {bits: i for i, bits in enumerate(split_of_tasks())}
    lines = sorted(lines, key=lambda line: (order.get(line["task"], len(order)), line["task"]))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def make_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=HERE / "base", help="folder of the base model")
    parser.add_argument("--base-name", default="digits-vit", help="base_model_name_or_path in adapter_config.json")
    parser.add_argument("--out", type=Path, default=HERE / "corpus")
    parser.add_argument("--tasks", default="all",
                        help="all, a split, or a comma-separated list of bits and ids (default: all)")
    parser.add_argument("--limit", type=int, help="stop after this many tasks")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--threads", type=int, default=1, help="threads per process")
    parser.add_argument("--targets", default="q_proj,v_proj,o_proj")
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--alpha", type=float, default=8)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--beta2", type=float, default=0.999)
    parser.add_argument("--eps", type=float, default=1e-3,
                        help="Adam's; larger than usual, so that near-zero gradients are not blown up to noise")
    parser.add_argument("--warmup", type=float, default=0.05, help="share of the steps")
    parser.add_argument("--weight-decay", type=float, default=0.0)
    parser.add_argument("--label-smoothing", type=float, default=0.1)
    parser.add_argument("--shift", type=int, default=0, choices=[0, 1], help="augment with one-pixel shifts")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main():
    args = make_parser().parse_args()
    splits = split_of_tasks()
    if args.tasks == "all":
        tasks = list(splits)
    elif args.tasks in SPLITS:
        tasks = [bits for bits, split in splits.items() if split == args.tasks]
    else:
        names = args.tasks.split(",")
        tasks = [n if len(n) == 10 and set(n) <= {"0", "1"} else task_bits(int(n)) for n in names]
    tasks = tasks[: args.limit]

    args.out.mkdir(parents=True, exist_ok=True)
    manifest = args.out / "corpus.jsonl"
    lines = []
    if manifest.exists():
        lines = [json.loads(line) for line in manifest.read_text().splitlines() if line.endswith("}")]
    done = {line["task"] for line in lines
            if (args.out / line["path"] / "adapter_model.safetensors").exists()}
    lines = [line for line in lines if line["task"] in done]
    write_manifest(manifest, lines)
    todo = [bits for bits in tasks if bits not in done]
    print(f"{len(tasks)} tasks, {len(tasks) - len(todo)} already done", flush=True)

    start, scores = time.time(), []
    with multiprocessing.get_context("spawn").Pool(args.jobs, _start, (args,)) as pool, manifest.open("a") as log:
        for bits, score in pool.imap_unordered(_run, todo):
            line = {
                "path": bits,
                "task": bits,
                "run": f"seed{args.seed}-{bits}",
                "split": splits.get(bits, "other"),
                "bits": bits,
                "text": task_text(bits),
                "scores": {"test_accuracy": round(score, 6)},
            }
            lines.append(line)
            log.write(json.dumps(line) + "\n")
            log.flush()
            scores.append(score)
            spent = time.time() - start
            left = spent / len(scores) * (len(todo) - len(scores))
            print(f"{len(scores)}/{len(todo)}  {bits}  {score:.4f}  mean {sum(scores) / len(scores):.4f}  "
                  f"{spent:.0f} s spent, {left:.0f} s left", flush=True)
    write_manifest(manifest, lines)


if __name__ == "__main__":
    main()
