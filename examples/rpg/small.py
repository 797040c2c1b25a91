# SPDX-License-Identifier: Apache-2.0
"""Few tasks: the digits corpus cut to 60, 100 and 160 training tasks, three draws each, and all 512; defaults as they are."""
import json

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

import plots
from bench import Contender, demo, fresh, loragen, measuring, train

DRAWS = {60: 3, 100: 3, 160: 3, 512: 1}
BASELINES = [
    Contender("nearest", "mean of neighbours, product space", "nearest"),
    Contender("ridge-pairs", "ridge on pairs, product space", "ridge-pairs"),
    Contender("kernel-ridge", "kernel ridge, product space", "kernel-ridge"),
    Contender("mlp", "MLP, product space", "mlp"),
]
OURS = [
    Contender("cond-pdiff", "COND P-DIFF, default", "cond-pdiff"),
    Contender("rpg", "RPG, default", "rpg"),
]
LEAST = -0.5  # percent, of RPG against the best baseline


def cut(size, draw, path):
    """Writes the packed corpus with `size` training tasks and an eighth as many, at least 10, for validation."""
    random = np.random.default_rng([size, draw])
    with safe_open(measuring.CORPUS, "np") as packed:
        metadata = packed.metadata()
        lines = metadata["manifest"].splitlines()
        places = {}
        for i, line in enumerate(lines):
            places.setdefault(json.loads(line)["split"], []).append(i)
        rows = np.concatenate([
            np.sort(random.permutation(places["train"])[:size]),
            np.sort(random.permutation(places["validation"])[: max(10, size // 8)]), places["test"]])
        tensors = {key: packed.get_tensor(key) for key in packed.keys()}
    codes = {key: value if key.endswith((".scale", ".mean")) else np.ascontiguousarray(value[rows])
             for key, value in tensors.items()}
    save_file(codes, str(path), metadata={**metadata, "manifest": "".join(lines[i] + "\n" for i in rows)})


def run(run):
    """The result, as it is stored."""
    sizes = {60: 1} if run.quick else DRAWS
    tasks = [entry.bits for entry in loragen.Corpus(measuring.CORPUS) if entry.split == loragen.Split.TEST]
    adapters = fresh(run.out / "adapters" / "small")
    loragen.Corpus(measuring.CORPUS).unpack(adapters / "fine-tuned")
    jobs = list(measuring.jobs_of(Contender("fine-tuned", "fine-tuned"), tasks, adapters, None))
    skill = {}
    for size, draws in sizes.items():
        for draw in range(draws):
            path = run.out / f"small-{size}-{draw}.corpus.safetensors"
            cut(size, draw, path)
            corpus = loragen.Corpus(path)
            for contender in BASELINES + OURS:
                name = f"small-{size}-{draw}-{contender.name}"
                made, report, _ = train(
                    run, corpus, name, f"{contender.label}, {size} tasks, draw {draw}", method=contender.method)
                skill[name] = round(report["test"]["skill"]["generator"], 4)
                jobs += measuring.jobs_of(Contender(name, contender.label), tasks, adapters, made)
    answers, errors = measuring.measure(jobs, run.jobs, "Generating, saving, loading, running in ONNX Runtime")
    if errors:
        raise SystemExit(errors[0])
    scores = {name: measuring.accuracies(value, tasks)[0] for name, value in answers.items()}
    base = measuring.accuracies(measuring.base_answers()[None, None].repeat(len(tasks), 1), tasks)

    def row(label, of):
        mean = [float(scores[name].mean()) for name in of]
        return {"label": label, "mean": round(float(np.mean(mean)), 3), "over tasks": round(
            float(np.mean([scores[name].std(ddof=1) for name in of])), 3), "draws": [round(m, 3) for m in mean]}

    result = {"tasks": len(tasks), "sizes": {}, "skill on weights": skill, "settings of RPG": run.settings,
              "base": round(float(base.mean()), 3), "fine-tuned": row("fine-tuned", ["fine-tuned"])["mean"]}
    for size, draws in sizes.items():
        def names(contender):
            return [f"small-{size}-{draw}-{contender.name}" for draw in range(draws)]

        rows = {c.name: row(c.label, names(c)) for c in BASELINES + OURS}
        best = max(BASELINES, key=lambda c: rows[c.name]["mean"])
        # Paired over tasks, the mean over draws.
        minus = {c.name: demo.paired(np.mean([scores[a] - scores[b] for a, b in zip(names(c), names(best))], axis=0))
                 for c in OURS}
        result["sizes"][str(size)] = {"rows": rows, "best": best.name, "minus best": minus}
    return result


def check(result):
    """What must hold in any run."""
    return [f"RPG is {-part['minus best']['rpg'][0]:.2f} points below {part['best']} with {size} tasks"
            for size, part in result["sizes"].items() if part["minus best"]["rpg"][0] < LEAST]


def lines(result):
    yield (f"Right answers in percent on {result['tasks']} tasks that were not trained on, by the number of training tasks; "
           f"mean over draws")
    yield f"{'':36}" + "".join(f"{size:>20}" for size in result["sizes"])
    first = next(iter(result["sizes"].values()))
    yield f"{'base model':36}" + f"{result['base']:20.2f}" * len(result["sizes"])
    for name, row in first["rows"].items():
        cells = [part["rows"][name] for part in result["sizes"].values()]
        yield f"{row['label']:36}" + "".join(cell_text(cell) for cell in cells)
    yield f"{'fine-tuned':36}" + f"{result['fine-tuned']:20.2f}" * len(result["sizes"])
    yield ""
    yield "Minus the best baseline, paired over the tasks, with its 95 % interval (bootstrap):"
    for size, part in result["sizes"].items():
        for name, (mean, low, high) in part["minus best"].items():
            yield (f"    {size:>4} tasks  {part['rows'][name]['label']:24}{mean:+7.2f} [{low:+6.2f}, {high:+6.2f}]"
                   f"  against {first['rows'][part['best']]['label']}")


def cell_text(row):
    deviation = f" ± {np.std(row['draws'], ddof=1):3.2f}" if len(row["draws"]) > 1 else ""
    return f"{row['mean']:13.2f}{deviation:7}"


def draw(result, path):
    plots.draw_sizes(result, path)
