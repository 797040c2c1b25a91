# SPDX-License-Identifier: Apache-2.0
"""The share of a task's test definitions that adapters answer right, for many adapters at once."""
import json
from pathlib import Path

import torch

import minilm

HERE = Path(__file__).resolve().parent


class Measure:
    """Holds what the layers below the adapters give for the test definitions."""

    def __init__(self, at_once=8, half=False):
        """`half`: products in bfloat16, twice as fast on CPUs that have it."""
        glosses = json.loads((HERE / "tests.json").read_text())["glosses"]
        self.each = len(next(iter(glosses.values())))  # definitions of a category
        self.start = {category: i * self.each for i, category in enumerate(glosses)}
        self.texts = minilm.Texts([text for texts in glosses.values() for text in texts])
        self.layers, self.at_once, self.half = minilm.LastLayers(), at_once, half

    def __call__(self, adapters, tasks, every=1):
        """Accuracy of each adapter on the task beside it, a list. `adapters`: per PEFT key an array [tasks, ...], as in
        PEFT files; None stands for the base model. A task has `yes` and `no`, its categories. `every`: 3 takes a third
        of the definitions."""
        tensors = {k: torch.as_tensor(v, dtype=torch.float32) for k, v in (adapters or {}).items()}
        places = range(0, self.each, every)
        wanted = torch.tensor([True] * len(places) + [False] * len(places))
        result = []
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            for first in range(0, len(tasks), self.at_once):
                group = tasks[first : first + self.at_once]
                rows = torch.tensor([self.start[task[side]] + i for task in group for side in ("yes", "no")
                                     for i in places])
                some = {k: v[first : first + self.at_once] for k, v in tensors.items()}
                logits = self.layers(self.texts.states[rows], self.texts.lengths[rows], some, 2 * len(places))
                right = (logits.view(len(group), -1) > 0) == wanted
                result += right.float().mean(1).tolist()
        return result
