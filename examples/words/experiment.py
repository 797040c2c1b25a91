#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains generators on the words corpus, asks them for adapters in several ways, and measures these.

    python experiment.py                              # everything: hours; what is done is never repeated
    python experiment.py --trainings roles --methods kernel-ridge,mlp --seeds 0
    python experiment.py --report                     # results/ from what is done

A training is named by what its generator is asked by: `roles` (definitions or names for yes and for no), `glosses`
(definitions alone), `names` (names alone), `sentence` (one sentence as one vector), `tokens` (one sentence, read token by
token). Every generator is asked in all ways that it takes.
"""
import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "bindings/python/src"))

import figures  # noqa: E402
import loragen  # noqa: E402
import measuring  # noqa: E402
import minilm  # noqa: E402
from corpus import Corpus, sides  # noqa: E402

RUNS = HERE / "corpus" / "runs"
METHODS = ("nearest", "ridge", "kernel-ridge", "mlp", "cond-pdiff", "rpg")
SEEDS = {"nearest": 1, "ridge": 1, "kernel-ridge": 1}  # of three: these have nothing that is drawn
# The manifest's field, the most few-shot draws, namings and sentences of a task, settings. Fewer than the corpus has: methods
# in closed form, which every report measures too, take time with the cube of the ways to ask.
TRAININGS = {
    "roles": ("conditions", 2, 1, 1, {}),
    "glosses": ("conditions", 3, 0, 1, {}),
    "names": ("conditions", 0, 2, 1, {}),
    "sentence": ("text", 1, 0, 3, {}),
    "tokens": ("text", 1, 0, 4, {"reader": "tokens"}),
}
NONSENSE = {"yes": ["the morrows of a trindle", "a brindled quapple of the fosk", "glim that borts in a wend",
                    "any of several lumping chards", "having snibs", "a plover of grames", "to wimble a frooth",
                    "an unsprung dallop"],
            "no": ["a kelter with two spoans", "the grunning of yabs", "trantles under a moop", "to quail a noddle up",
                   "very thrip", "a jorum for sneeds", "one of the blenches", "that which is ferly and stound"]}
NONSENSE_SENTENCE = "Does this definition speak of trindles rather than of spoans?"


def corpus_of(training, corpus):
    """A copy, as the library keeps the texts' vectors beside a corpus."""
    path = RUNS / f"{training}.corpus.safetensors"
    _, draws, namings, sentences, _ = TRAININGS[training]

    def fewer(line):
        few_shot = [c for c in line["conditions"] if isinstance(c["yes"]["text"], list)]
        named = [c for c in line["conditions"] if isinstance(c["yes"]["text"], str)]
        return {**line, "conditions": few_shot[:draws] + named[:namings], "text": line["text"][:sentences]}

    if not path.exists():
        corpus.write(path, fewer)
    return path


def askings(training, line, paraphrased):
    """{way to ask: what generate() takes}."""
    if TRAININGS[training][0] == "text":
        others = {f"paraphrase {i}": text for i, text in enumerate(paraphrased["sentences"], 1)}
        return {way: {"text": text} for way, text in
                {"sentence": line["text"][0], **others, "nonsense": NONSENSE_SENTENCE}.items()}
    few_shot, *_, _ = [{side: part["text"] for side, part in c.items()} for c in line["conditions"]]
    named = next({side: part["text"] for side, part in c.items()} for c in line["conditions"]
                 if isinstance(c["yes"]["text"], str))
    return {way: {"condition": condition} for way, condition in
            {"glosses": few_shot, "names": named, "other names": paraphrased["names"], "nonsense": NONSENSE}.items()}


def generated(generator, requests, seed):
    """Per PEFT key [tasks, ...], and milliseconds each."""
    made, start = [], time.perf_counter()
    for request in requests:
        adapter = generator.generate(**request, seed=seed)[0]
        made.append({name: np.array(tensor.numpy()) for name, tensor in adapter.items()})
    milliseconds = 1000 * (time.perf_counter() - start) / len(requests)
    return {key: np.stack([one[key] for one in made]) for key in made[0]}, round(milliseconds, 2)


def shown(title):
    last = [time.monotonic()]

    def show(p):
        if time.monotonic() - last[0] > 20:
            last[0] = time.monotonic()
            print(f"    {title}: {p.stage} step {p.step} of {p.steps}, skill {p.best_skill:.3f}, {p.seconds_left:.0f} s left",
                  flush=True)

    return show


def percent(scores):
    return [round(100 * score, 2) for score in scores]


class Experiment:
    def __init__(self, settings):
        self.corpus, self.measure, self.settings = Corpus(), measuring.Measure(half=True), settings
        self.paraphrased = json.loads((HERE / "tests.json").read_text())["paraphrased"]
        self.encoder = loragen.Encoder(minilm.folder())
        RUNS.mkdir(exist_ok=True)

    def run(self, training, method, seed):
        path = RUNS / f"{training}.{method}.{seed}.json"
        if path.exists():
            return
        file, start = path.with_suffix(".loragen.safetensors"), time.monotonic()
        field, *_, settings = TRAININGS[training]
        settings = {**settings, **self.settings}
        with loragen.train(corpus_of(training, self.corpus), file, method=method, seed=seed, settings=settings,
                           encoder=self.encoder, condition=field, progress=shown(f"{training} {method} seed {seed}")):
            pass
        result = {"training": training, "method": method, "seed": seed, "settings": settings,
                  "training_s": round(time.monotonic() - start, 1), "file_bytes": file.stat().st_size, "groups": {}}
        with loragen.Generator(file, encoder=self.encoder) as generator:
            result["skill"] = generator.report.get("test", {}).get("skill")
            for group, rows in self.corpus.test.items():
                result["groups"][group] = self.group(generator, training, [self.corpus.lines[i] for i in rows], seed)
        file.unlink()
        path.write_text(json.dumps(result) + "\n")
        means = {group: {way: round(float(np.mean(scores)), 1) for way, scores in ways.items() if way != "ms"}
                 for group, ways in result["groups"].items()}
        print(f"{training} {method} seed {seed}, {result['training_s']} s: {means}", flush=True)

    def group(self, generator, training, lines, seed):
        """{way to ask: accuracy on each task, percent}."""
        tasks = [sides(line) for line in lines]
        asked = [askings(training, line, self.paraphrased[line["task"]]) for line in lines]
        result = {}
        for way in asked[0]:
            adapters, milliseconds = generated(generator, [a[way] for a in asked], seed)
            result[way] = percent(self.measure(adapters, tasks, every=3 if way == "nonsense" else 1))
            if "another task's" not in result:  # the first way is the plainest
                another = {key: np.roll(value, 1, 0) for key, value in adapters.items()}
                result["another task's"] = percent(self.measure(another, tasks, every=3))
                result["ms"] = milliseconds
        return result

    def references(self):
        """Of no generator: base, mean adapter, fine-tuned."""
        path = RUNS / "references.json"
        if path.exists():
            return
        result = {}
        for group, rows in self.corpus.test.items():
            tasks = [sides(self.corpus.lines[i]) for i in rows]
            mean = {k: np.repeat(v[self.corpus.train].mean(0)[None], len(rows), 0) for k, v in self.corpus.tensors.items()}
            own = self.corpus.rows(rows)
            result[group] = {
                "base": percent(self.measure(None, tasks)), "mean": percent(self.measure(mean, tasks)),
                "fine-tuned": percent(self.corpus.lines[i]["scores"]["test_accuracy"] for i in rows),
                "fine-tuned, another task's": percent(self.measure({k: np.roll(v, 1, 0) for k, v in own.items()}, tasks))}
        path.write_text(json.dumps(result) + "\n")


# ------------------------------------------------------------------------------------------------------------- report


def interval(values):
    """Mean and 95 % interval by bootstrap over tasks."""
    values, generator = np.asarray(values), np.random.default_rng(0)
    means = values[generator.integers(0, len(values), (10000, len(values)))].mean(1)
    return [round(float(v), 2) for v in (values.mean(), *np.percentile(means, [2.5, 97.5]))]


def summary(runs):
    """Over the seeds of one training and method: {group: {way: {"mean", "deviation" over seeds}}, margin}."""
    result = {"seeds": [run["seed"] for run in runs], "training_s": [run["training_s"] for run in runs], "groups": {}}
    for group, ways in runs[0]["groups"].items():
        scores = {way: np.array([run["groups"][group][way] for run in runs]) for way in ways if way != "ms"}  # [seeds, tasks]
        others = [scores.pop(way) for way in ways if way.startswith("paraphrase ")]
        if others:
            scores["paraphrase"] = np.mean(others, 0)
        first = next(iter(ways))
        result["groups"][group] = {
            way: {"mean": round(float(value.mean()), 2),
                  "deviation": round(float(value.mean(-1).std(ddof=int(len(runs) > 1))), 2)}
            for way, value in scores.items()}
        margin = (scores[first] - scores["another task's"]).mean(0)
        result["groups"][group]["ms"] = [run["groups"][group]["ms"] for run in runs]
        result["groups"][group]["margin"] = dict(zip(("mean", "low", "high"), interval(margin)))
    return result


def report(trainings):
    runs = [json.loads(path.read_text()) for path in sorted(RUNS.glob("*.*.*.json"))]
    references = json.loads((RUNS / "references.json").read_text())
    result = {"references": {group: {name: {"mean": round(float(np.mean(v)), 2), "deviation": round(float(np.std(v)), 2)}
                                     for name, v in names.items()} for group, names in references.items()}}
    for training in trainings:
        for method in METHODS:
            mine = [run for run in runs if (run["training"], run["method"]) == (training, method)]
            if mine:
                result.setdefault(training, {})[method] = summary(mine)
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "experiment.json").write_text(json.dumps(result, indent=1) + "\n")
    trainings = [training for training in trainings if training in result]
    for training in trainings:
        print(table(training, result))
    figures.draw(result, trainings, HERE / "results" / "table.png")


def table(training, result):
    """A row a method, a column a way to ask; cells are test pairs · new category, with the deviation over seeds if several."""
    groups = list(result["references"])
    ways = [way for way in next(iter(result[training].values()))["groups"][groups[0]] if way not in ("ms", "margin")]
    head = [f"trained by {training}", "seeds", *(f"asked by {way}" for way in ways), *(f"margin, {g} (95 %)" for g in groups)]
    text = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for method, one in result[training].items():
        def cell(way):
            deviation = " ± {deviation:.1f}" if len(one["seeds"]) > 1 else ""
            return " · ".join(("{mean:.1f}" + deviation).format(**one["groups"][group][way]) for group in groups)

        margins = ["{mean:.1f} ({low:.1f} to {high:.1f})".format(**one["groups"][group]["margin"]) for group in groups]
        text.append("| " + " | ".join([method, str(len(one["seeds"])), *map(cell, ways), *margins]) + " |")
    return "\n".join(text) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainings", default=",".join(TRAININGS))
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--settings", type=json.loads, default={}, help="of the methods, as JSON")
    parser.add_argument("--threads", type=int, default=2, help="of training")
    parser.add_argument("--report", action="store_true", help="only write results/ from what is done")
    args = parser.parse_args()
    if not args.report:
        torch.set_num_threads(1)
        loragen.set_threads(args.threads)
        experiment = Experiment(args.settings)
        experiment.references()
        for seed in map(int, args.seeds.split(",")):
            for training in args.trainings.split(","):
                for method in args.methods.split(","):
                    if seed < SEEDS.get(method, 3):
                        experiment.run(training, method, seed)
    report(args.trainings.split(","))


if __name__ == "__main__":
    main()
