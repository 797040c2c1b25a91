#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fine-tunes a LoRA adapter for each task of make_tasks.py, several tasks at once; writes PEFT folders and a manifest.

    python train_adapters.py                # all tasks: 2.3 s each on one core

All runs share the initialisation, the steps, and for each category the order of its definitions: they differ because of
the task alone. Tasks that are there already are skipped, so an interrupted run can be repeated.
"""
import argparse
import json
import math
import random
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn import functional as F

import measuring
import minilm

HERE = Path(__file__).resolve().parent


def initial(seed):
    """As PEFT starts an adapter: A uniform, B zero."""
    torch.manual_seed(seed)
    adapter = {}
    for key in minilm.keys():
        if "lora_A" in key:
            adapter[key] = torch.nn.init.kaiming_uniform_(torch.empty(minilm.RANK, minilm.WIDTH), a=math.sqrt(5))
        else:
            adapter[key] = torch.zeros(minilm.WIDTH, minilm.RANK)
    return adapter


class Trainer:
    def __init__(self, args):
        self.args = args
        glosses = json.loads((HERE / "corpus" / "training.json").read_text())
        self.texts = minilm.Texts([text for texts in glosses.values() for text in texts])
        self.order, start = {}, 0
        for category, texts in glosses.items():
            order, chooser = [], random.Random(args.seed)
            while len(order) < args.steps * args.batch:
                order += chooser.sample(range(start, start + len(texts)), len(texts))
            self.order[category] = order
            start += len(texts)
        self.layers = minilm.LastLayers()
        self.initial = initial(args.seed)

    def rows(self, task, step):
        """The texts of one step: half of X, half of Y."""
        part = slice(step * self.args.batch, (step + 1) * self.args.batch)
        return self.order[task["yes"]][part] + self.order[task["no"]][part]

    def fit(self, tasks):
        """Adapters of several tasks: per PEFT key [tasks, ...]."""
        args, each = self.args, 2 * self.args.batch
        adapters = {key: value.repeat(len(tasks), 1, 1).requires_grad_() for key, value in self.initial.items()}
        optimizer = torch.optim.AdamW(adapters.values(), lr=args.lr, eps=args.eps, weight_decay=0)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min(1, (step + 1) / args.warmup) * (1 + math.cos(math.pi * step / args.steps)) / 2)
        wanted = torch.tensor([1.0] * args.batch + [0.0] * args.batch).repeat(len(tasks))
        for step in range(args.steps):
            rows = torch.tensor([row for task in tasks for row in self.rows(task, step)])
            logits = self.layers(self.texts.states[rows], self.texts.lengths[rows], adapters, each)
            # The mean over each task's texts, summed over tasks: every task has the gradient it would have alone.
            loss = F.binary_cross_entropy_with_logits(logits, wanted, reduction="sum") / each
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
        return {key: value.detach() for key, value in adapters.items()}


def config():
    return {
        "base_model_name_or_path": "sentence-transformers/all-MiniLM-L6-v2", "bias": "none", "fan_in_fan_out": False,
        "inference_mode": True, "init_lora_weights": True, "layers_pattern": "layer",
        "layers_to_transform": list(range(minilm.FIRST, minilm.LAST)), "lora_alpha": minilm.ALPHA, "lora_dropout": 0.0,
        "modules_to_save": None, "peft_type": "LORA", "r": minilm.RANK, "target_modules": sorted(minilm.MODULES),
        "task_type": None, "use_dora": False, "use_rslora": False,
    }


def line(task, score):
    """Of the manifest; the first of a task's conditions is the one that held-out tasks are measured with."""
    few_shot = [{side: {"text": texts} for side, texts in draw.items()} for draw in task["glosses"]]
    named = [{side: {"text": text} for side, text in names.items()} for names in task["names"]]
    return {"path": task["task"], "task": task["task"], "split": task["split"], "conditions": few_shot + named,
            "text": task["sentences"], "scores": {"test_accuracy": score}}


def write_manifest(folder, tasks, scores):
    lines = [json.dumps(line(task, scores[task["task"]])) + "\n" for task in tasks if task["task"] in scores]
    (folder / "corpus.jsonl").write_text("".join(lines))


def make_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "corpus")
    parser.add_argument("--limit", type=int, help="stop after this many tasks")
    parser.add_argument("--at-once", type=int, default=8, help="tasks trained at the same time")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=8, help="definitions of X, and as many of Y, in a step")
    parser.add_argument("--lr", type=float, default=8e-3)
    parser.add_argument("--eps", type=float, default=1e-8, help="Adam's")
    parser.add_argument("--warmup", type=int, default=4, help="steps")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main():
    args = make_parser().parse_args()
    torch.set_num_threads(args.threads)
    tasks = json.loads((HERE / "corpus" / "tasks.json").read_text())[: args.limit]
    scores_file = args.out / "scores.json"
    scores = json.loads(scores_file.read_text()) if scores_file.exists() else {}
    left = [task for task in tasks if task["task"] not in scores]
    trainer, measure = Trainer(args), measuring.Measure()
    start = time.monotonic()
    for first in range(0, len(left), args.at_once):
        group = left[first : first + args.at_once]
        adapters = trainer.fit(group)
        for i, (task, score) in enumerate(zip(group, measure(adapters, group))):
            target = args.out / task["task"]
            target.mkdir(parents=True, exist_ok=True)
            save_file({key: value[i].contiguous() for key, value in adapters.items()},
                      str(target / "adapter_model.safetensors"), metadata={"format": "pt"})
            (target / "adapter_config.json").write_text(json.dumps(config(), indent=2) + "\n")
            scores[task["task"]] = round(score, 4)
        scores_file.write_text(json.dumps(scores, indent=0) + "\n")
        done, seconds = first + len(group), time.monotonic() - start
        mean = sum(scores[task["task"]] for task in left[:done]) / done
        print(f"{done} of {len(left)}, test accuracy {mean:.4f}, {seconds / done * (len(left) - done):.0f} s left", flush=True)
    write_manifest(args.out, tasks, scores)


if __name__ == "__main__":
    main()
