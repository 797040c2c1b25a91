# SPDX-License-Identifier: Apache-2.0
"""What the experiments share: the digits example's measuring, RPG's settings, adapters on disk."""
import json
import shutil
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "digits"))

import demo  # noqa: E402
import evaluate  # noqa: E402
import measuring  # noqa: E402
from measuring import ROOT, Contender, Line, loragen  # noqa: E402

__all__ = ["Contender", "HERE", "Line", "ROOT", "answers_of", "demo", "evaluate", "fresh", "loragen", "measuring",
           "percent", "save_adapter", "train", "wide"]


def train(run, corpus, name, title, method="rpg", preset="default", settings=None, seed=0):
    """(path, report, seconds) of a generator that is trained now or was before."""
    path = run.out / f"{name}.loragen.safetensors"
    if method == "rpg":
        settings = {**(settings or {}), **run.settings}
    report, seconds = measuring.trained(
        Contender(name, title, method, preset), corpus, path, f"Training {title}", settings=settings or None, seed=seed,
        checkpoint=run.out / f"{name}.checkpoint")
    return path, report, seconds


def fresh(folder):
    """An empty folder; its parent is this example's own."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder


def save_adapter(tensors, config, folder):
    """PEFT's two files."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: np.ascontiguousarray(value, np.float32) for key, value in tensors.items()},
              str(folder / "adapter_model.safetensors"), metadata={"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps(config))


def answers_of(bits):
    return np.array([int(bit) for bit in bits])


def percent(values):
    """[mean, deviation], rounded."""
    values = np.asarray(values, float)
    return [round(float(values.mean()), 3), round(float(values.std(ddof=1)), 3) if values.size > 1 else 0.0]


def wide():
    """(images, labels) of the test set, moved by -1, 0 and 1 pixel along both axes: 3240 images. On the 360 alone a good
    adapter makes too few mistakes to compare them."""
    white = -evaluate.MEAN / evaluate.STD
    padded = np.pad(evaluate.PIXELS, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=white)
    images = [padded[:, :, y : y + 8, x : x + 8] for y in range(3) for x in range(3)]
    return np.concatenate(images), np.tile(evaluate.LABELS, len(images))
