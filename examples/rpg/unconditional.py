# SPDX-License-Identifier: Apache-2.0
"""New adapters like the 50 checkpoints of one run, and how near they are to those."""
import numpy as np

import plots
from bench import HERE, answers_of, evaluate, loragen, percent, train, wide

CORPUS = HERE / "checkpoints.corpus.safetensors"
NOISE = [0.01, 0.02, 0.03, 0.04, 0.05]
MODELS = 5  # for each noise, as the paper does; of pairs, twice as many
SETTINGS = {"space": "factors", "tokens": "within-layer", "tokenSize": 256, "width": 256, "batch": 16, "steps": 1000}


class Host:
    """Adapters of one task in ONNX Runtime: accuracy on the test images, mistakes on the moved ones too."""

    def __init__(self, task):
        self.session, self.answers = evaluate.open_session(threads=2), answers_of(task)
        self.images, self.labels = wide()
        self.plain = slice(len(evaluate.PIXELS) * 4, len(evaluate.PIXELS) * 5)  # those moved by 0

    def wrong(self, tensors):
        """For each of the images, whether it is answered wrongly."""
        return evaluate.predictions(self.session, tensors, self.images) != self.answers[self.labels]

    def describe(self, wrongs):
        accuracy, moved = (100 * (1 - np.array([w[part].mean() for w in wrongs])) for part in (self.plain, slice(None)))
        return {"accuracy": spread(accuracy), "accuracy, moved images": spread(moved)}


def spread(values):
    """[best, mean, least]"""
    return [round(float(v), 3) for v in (values.max(), values.mean(), values.min())]


def overlap(a, b):
    """IoU of the wrong answers of every model of `a` [n, images] with every one of `b` [m, images]: [n, m]."""
    a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
    both = a @ b.T
    return both / np.maximum(1, a.sum(1)[:, None] + b.sum(1) - both)


def mean_of(adapters):
    return {key: np.mean([a[key] for a in adapters], 0) for key in adapters[0]}


def noisy(adapter, sigma, random):
    """Noise in units of each tensor's own deviation, as the paper adds it."""
    return {key: value + np.float32(sigma) * value.std() * random.standard_normal(value.shape, np.float32)
            for key, value in adapter.items()}


def packed(path):
    """[(manifest line, tensors ready for the host)]"""
    config = evaluate.packed_config(path)
    return [(line, evaluate.scaled(tensors, config)) for line, tensors in evaluate.read_packed(path)]


def generated(path, draws, folder):
    """Adapters by the way of a user's: generated, saved as PEFT folders, read again."""
    result = []
    with loragen.Generator(path) as generator:
        for seed in range(draws):
            generator.generate(seed=seed)[0].save(folder / f"{seed}")
            result.append(evaluate.load_adapter(folder / f"{seed}"))
    return result


def run(run):
    path, _, seconds = train(run, loragen.Corpus(CORPUS), "checkpoints", "RPG on 50 checkpoints", settings=SETTINGS)
    entries = packed(CORPUS)
    originals, host = [tensors for _, tensors in entries], Host(entries[0][0]["task"])
    folder = run.out / "adapters" / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    pairs = [random.choice(len(originals), 2, replace=False) for _ in range(2 * MODELS)]
    groups = {
        "original": originals,
        "generated": generated(path, run.draws, folder),
        "mean of all": [mean_of(originals)],
        "means of two": [mean_of([originals[i] for i in pair]) for pair in pairs],
        **{f"noise {sigma}": [noisy(originals[i], sigma, random) for i in random.integers(len(originals), size=MODELS)]
           for sigma in NOISE},
    }
    wrong = {name: [host.wrong(tensors) for tensors in adapters] for name, adapters in groups.items()}
    rows, points = {}, {}
    for name, own in wrong.items():
        iou = overlap(own, wrong["original"])
        if name == "original":
            np.fill_diagonal(iou, -1)
        nearest = iou.max(1)
        points[name] = [[round(float(100 * (1 - w.mean())), 3), round(float(s), 4)] for w, s in zip(own, nearest)]
        among = overlap(own, own)[~np.eye(len(own), dtype=bool)]
        rows[name] = {**host.describe(own), "max IoU": percent(nearest),
                      "IoU among them": round(float(among.mean()), 4) if len(own) > 1 else None}
    return {"task": entries[0][0]["task"], "images": len(evaluate.PIXELS), "moved images": len(host.labels), "rows": rows,
            "accuracy on moved images and max IoU": points, "training seconds": seconds,
            "settings": {**SETTINGS, **run.settings}}


def check(result):
    generated, original = (result["rows"][name]["accuracy"][1] for name in ("generated", "original"))
    if generated > original - 5:
        return []
    return [f"generated checkpoints reach {generated:.1f} %, the originals {original:.1f} %"]


def lines(result):
    yield (f"50 checkpoints of one run of task {result['task']}; right answers in percent, similarity on "
           f"{result['moved images']} images")
    yield f"{'':16}{'best':>8}{'mean':>8}{'least':>8}{'moved images: mean':>21}{'max IoU':>18}{'IoU among them':>17}"
    for name, row in result["rows"].items():
        best, mean, least = row["accuracy"]
        among = "" if row["IoU among them"] is None else f"{row['IoU among them']:.3f}"
        yield (f"{name:16}{best:8.2f}{mean:8.2f}{least:8.2f}{row['accuracy, moved images'][1]:21.2f}"
               f"{row['max IoU'][0]:11.3f} ± {row['max IoU'][1]:.3f}{among:>17}")


def draw(result, path):
    plots.draw_similarity(result, path)
