# SPDX-License-Identifier: Apache-2.0
"""Adapters for tasks that were never trained on: RPG beside baselines, fine-tuned adapters and controls."""
import json

import numpy as np
from safetensors.numpy import load_file

import plots
import ridge
from bench import Contender, Line, demo, evaluate, fresh, loragen, measuring, percent, save_adapter, train

# The paper's tasks; train_adapters.py puts all of them into the test split.
IDS = [101, 111, 128, 141, 197, 238, 278, 279, 314, 383, 462, 482, 502, 589, 592, 643, 653, 793, 884, 1001]
TASKS = [format(i, "010b") for i in IDS]
TRAINED = [  # baselines of the library
    Contender("mean", "mean adapter", "mean", "factors"),
    Contender("nearest", "mean of one-bit neighbours", "nearest", "factors"),
    Contender("ridge", "ridge on bits", "ridge", "factors"),
    Contender("ridge-pairs", "ridge on bits and pairs", "ridge-pairs", "factors"),
    Contender("nearest-product", "mean of neighbours, product space", "nearest"),
    Contender("ridge-pairs-product", "ridge on pairs, product space", "ridge-pairs"),
    Contender("kernel-ridge-product", "kernel ridge, product space", "kernel-ridge"),
    Contender("mlp-product", "MLP, product space", "mlp"),
]
TRIPLES = [
    Contender("ridge-triples", "ridge on bits, pairs, triples"),
    Contender("ridge-triples-product", "ridge on triples, product space"),
]
# Chosen on the validation tasks.
SETTINGS = {"start": "none", "tokens": "flatten", "tokenSize": 1536, "width": 512, "conditionWidth": 1024, "rate": 2e-3,
            "steps": 1200, "batch": 64, "dropout": 0.2, "denoiserWidth": 512, "blocks": 1, "weightDecay": 0.01,
            "conditionNoise": 0.0, "validationInterval": 200}
QUICK = {"mean", "nearest", "ridge-pairs"}


def run(run):
    """The result, as it is stored."""
    corpus = loragen.Corpus(measuring.CORPUS)
    split = {entry.bits: entry.split for entry in corpus}
    for task in TASKS:
        if split.get(task) != loragen.Split.TEST:
            raise SystemExit(f"task {task} has to be in the corpus, in its test split")
    training = [task for task in split if split[task] == loragen.Split.TRAIN]
    validation = [task for task in split if split[task] == loragen.Split.VALIDATION]
    seen = [training[i * len(training) // len(TASKS)] for i in range(len(TASKS))]
    adapters = fresh(run.out / "adapters" / "conditional")
    corpus.unpack(adapters / "fine-tuned")

    baselines = [c for c in TRAINED if not run.quick or c.name in QUICK]
    jobs, seconds, skill = [], {}, {}
    for contender in baselines:
        path, report, seconds[contender.name] = train(
            run, corpus, contender.name, contender.label, method=contender.method, preset=contender.preset)
        skill[contender.name] = report["test"]["skill"]["generator"]
        jobs += measuring.jobs_of(contender, TASKS + seen, adapters, path)
    triples = [] if run.quick else TRIPLES
    penalties = {c.name: fit_triples(c, adapters, training, validation, TASKS + seen) for c in triples}
    jobs += [job for c in triples for job in measuring.jobs_of(c, TASKS + seen, adapters, None)]
    fine_tuned = Contender("fine-tuned", "fine-tuned")
    near = {task: [other for other in training if sum(a != b for a, b in zip(task, other)) == 1] for task in TASKS}
    tuned_tasks = list(dict.fromkeys([*TASKS, *seen, *(other for others in near.values() for other in others)]))
    jobs += measuring.jobs_of(fine_tuned, tuned_tasks, adapters, None)

    draws = tuple(range(run.draws))
    if not run.quick:
        pdiff = Contender("cond-pdiff", "COND P-DIFF, default", "cond-pdiff", seeds=draws)
        path, report, seconds["cond-pdiff"] = train(run, corpus, pdiff.name, pdiff.label, method=pdiff.method)
        skill["cond-pdiff"] = report["test"]["skill"]["generator"]
        jobs += measuring.jobs_of(pdiff, TASKS + seen, adapters, path)
        baselines = [*baselines, *triples, pdiff]

    ours, reports = [], []
    for seed in range(run.seeds):
        name = f"rpg-{seed}"
        path, report, seconds[name] = train(run, corpus, name, f"RPG, seed {seed}", settings=SETTINGS, seed=seed)
        reports.append(report)
        ours.append(Contender(name, f"RPG, training seed {seed}", "rpg", seeds=draws))
        jobs += measuring.jobs_of(ours[-1], TASKS + seen, adapters, path)
    # Controls, of the first training seed: other conditions than the task's own.
    random = np.random.default_rng(0)
    other = [format(i, "010b") for i in random.integers(1, 1023, len(TASKS))]
    complement = ["".join("01"[bit == "0"] for bit in task) for task in TASKS]
    first = run.out / "rpg-0.loragen.safetensors"
    for name, tasks in (("random", other), ("complement", complement)):
        jobs += measuring.jobs_of(Contender(name, name, seeds=draws), tasks, adapters, first)

    answers, errors = measuring.measure(jobs, run.jobs, "Generating, saving, loading, running in ONNX Runtime")
    if errors:
        raise SystemExit(errors[0])

    majority = 100 * np.maximum(measuring.wanted(TASKS).mean(1), 1 - measuring.wanted(TASKS).mean(1))
    tuned = dict(zip(tuned_tasks, answers["fine-tuned"][0]))
    top, top_seen = (measuring.accuracies(np.stack([tuned[task] for task in part]), part)[None] for part in (TASKS, seen))
    # A neighbour as it is; the mean over all of a task's.
    copies = np.array([np.mean([measuring.accuracies(tuned[other], [task]) for other in near[task]]) for task in TASKS])
    count = len(TASKS)

    def row(label, scores, seen_scores=None):
        """Of scores [draws, tasks]."""
        mean, best = scores.mean(0), scores[:3].max(0)
        return {
            "label": label, "mean": round(float(mean.mean()), 3), "over tasks": round(float(mean.std(ddof=1)), 3),
            "over draws": round(float(scores.std(0, ddof=1).mean()), 3) if len(scores) > 1 else None,
            "worst task": round(float(mean.min()), 3),
            "best of 3": round(float(best.mean()), 3) if len(scores) > 2 else None,
            "recovered": round(float((mean.mean() - majority.mean()) / (top.mean() - majority.mean())), 4),
            "seen": None if seen_scores is None else round(float(seen_scores.mean()), 3),
        }

    base = measuring.accuracies(measuring.base_answers()[None, None].repeat(count, 1), TASKS)
    rows = {"base": row("base model", base), "majority": row("majority class", majority[None])}
    rows["copy"] = row("copy of a one-bit neighbour", copies[None])
    own = {}
    for contender in baselines + ours:
        scores = measuring.accuracies(answers[contender.name], TASKS + seen)
        own[contender.name] = scores[:, :count]
        rows[contender.name] = row(contender.label, scores[:, :count], scores[:, count:])
    together = np.concatenate([own[c.name] for c in ours])
    rows["rpg"] = row(f"RPG, mean of {run.seeds} training seeds", together)
    rows["rpg"]["best of 3"] = round(float(np.mean([own[c.name][:3].max(0).mean() for c in ours])), 3)
    rows["rpg"]["over draws"] = round(float(np.mean([own[c.name].std(0, ddof=1).mean() for c in ours])), 3)
    rows["rpg"]["seen"] = round(float(np.mean([rows[c.name]["seen"] for c in ours])), 3)
    rows["fine-tuned"] = row("fine-tuned", top, top_seen)

    scores = {name: value.mean(0) for name, value in {**own, "copy": copies[None], "fine-tuned": top}.items()}
    flipped = answers["complement"]
    return {
        "tasks": len(TASKS), "draws": run.draws, "rows": rows,
        "training seeds": percent([rows[c.name]["mean"] for c in ours]),
        "RPG minus": {name: demo.paired(together.mean(0) - value) for name, value in scores.items()
                      if not name.startswith("rpg-")},
        "controls": {
            "random bits, on the task": percent(measuring.accuracies(answers["random"], TASKS).mean(0)),
            "complemented bits, on the task": percent(measuring.accuracies(flipped, TASKS).mean(0)),
            "complemented bits, on the complement": percent(measuring.accuracies(flipped, complement).mean(0)),
            "complements among the training tasks": sum(task in training for task in complement),
        },
        "per task": {"id": IDS, "majority": [round(float(v), 2) for v in majority],
                     "RPG": [round(float(v), 2) for v in together.mean(0)],
                     **{name: [round(float(v), 2) for v in value] for name, value in scores.items()
                        if not name.startswith("rpg-")}},
        "skill on weights": {**skill, "rpg": percent([r["test"]["skill"]["generator"] for r in reports]),
                             "rpg, validation": percent([r["validation"]["skill"]["generator"] for r in reports])},
        "penalties of ridge on triples": penalties, "training seconds": seconds,
        "settings": {**SETTINGS, **run.settings}, "verdict of the report": reports[0]["verdict"],
    }


def fit_triples(contender, adapters, train, validation, tasks):
    """Writes adapters as PEFT folders; returns the penalty, chosen on the validation tasks' weights."""
    line = Line(f"Fitting {contender.label}")

    def load(task):
        return load_file(adapters / "fine-tuned" / task / "adapter_model.safetensors")

    config = json.loads((adapters / "fine-tuned" / train[0] / "adapter_config.json").read_text())
    space = (ridge.Product if contender.name.endswith("product") else ridge.Factors)(load(train[0]))
    values, held_out = (np.stack([space.encode(load(task)) for task in part]) for part in (train, validation))
    predict, penalty = ridge.fit(train, values, validation, held_out, 3)
    for task, row in zip(tasks, predict(tasks)):
        save_adapter(space.decode(row), config, adapters / contender.name / task)
    line.end(f"penalty {penalty}")
    return penalty


def check(result):
    """What must hold in any run."""
    rows = result["rows"]
    gain = rows["rpg"]["mean"] - rows["mean"]["mean"]
    if gain >= demo.LEAST_GAIN:
        return []
    return [f"RPG is {gain:.1f} points above the mean adapter; expected {demo.LEAST_GAIN}"]


def lines(result):
    yield (f"Right answers on {len(evaluate.LABELS)} test images in percent: {result['tasks']} tasks that were not trained on, "
           f"{result['draws']} draws each")
    yield f"{'':36}{'mean':>7}{'± tasks':>9}{'± draws':>9}{'worst':>8}{'best of 3':>11}{'recovered':>11}{'seen':>8}"
    for name, row in result["rows"].items():
        def cell(key, width, digits=2):
            return f"{row[key]:{width}.{digits}f}" if row[key] is not None else " " * width

        yield (f"{row['label']:36}{cell('mean', 7)}{cell('over tasks', 9)}{cell('over draws', 9)}{cell('worst task', 8)}"
               f"{cell('best of 3', 11)}{cell('recovered', 11, 3)}{cell('seen', 8)}")
    yield ""
    yield "RPG minus another row, paired over the tasks, with its 95 % interval (bootstrap):"
    for name, (mean, low, high) in result["RPG minus"].items():
        yield f"    {result['rows'][name]['label']:36}{mean:+7.2f} [{low:+6.2f}, {high:+6.2f}]"
    mean, deviation = result["training seeds"]
    yield f"Over training seeds: {mean:.2f} ± {deviation:.2f}"
    yield "Controls:"
    for name, value in result["controls"].items():
        yield f"    {name}: " + (f"{value[0]:.1f} ± {value[1]:.1f}" if isinstance(value, list) else f"{value}")


def draw(result, path):
    plots.draw_rows(result, path)
