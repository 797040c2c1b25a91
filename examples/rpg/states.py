# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of several independent runs of one task, with and without the permutation state."""
import json
import shutil

import plots
from bench import HERE, Line, fresh, loragen, percent, train
from unconditional import Host, generated, mean_of, packed

CORPUS = HERE / "runs.corpus.safetensors"
COUNTS = [1, 3, 10]
FACTORS = {"raw": "factors as trained", "canonical": "canonical factors"}
STATES = {"none": "without", "run": "with"}
# A token for each of A and B (4 · 64 numbers); few files need few steps.
SETTINGS = {"space": "factors", "tokens": "within-layer", "tokenSize": 256, "width": 256, "batch": 16, "rate": 2e-3,
            "steps": 1200}


def corpora(run, counts):
    """{count: corpus of that many runs}; a corpus is a folder with a manifest."""
    line, folder = Line("Unpacking the runs"), run.out / "runs"
    if folder.exists():
        shutil.rmtree(folder)
    loragen.Corpus(CORPUS).unpack(folder)
    manifest = [json.loads(text) for text in (folder / "corpus.jsonl").read_text().splitlines()]
    runs, result = list(dict.fromkeys(entry["run"] for entry in manifest)), {}
    for count in counts:
        part = fresh(run.out / f"runs-{count}")
        entries = [entry for entry in manifest if entry["run"] in runs[:count]]
        for entry in entries:
            shutil.copytree(folder / entry["path"], part / entry["path"])
        (part / "corpus.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        result[count] = loragen.Corpus(part)
    line.end(", ".join(str(count) for count in counts))
    return result


def run(run):
    counts, factors = ([3], ["raw"]) if run.quick else (COUNTS, list(FACTORS))
    entries = packed(CORPUS)
    names = list(dict.fromkeys(line["run"] for line, _ in entries))
    host, rows, seconds = Host(entries[0][0]["task"]), {}, {}
    for count, corpus in corpora(run, counts).items():
        originals = [tensors for line, tensors in entries if line["run"] in names[:count]]
        row = {"original": accuracies(host, originals), "mean of all": accuracies(host, [mean_of(originals)])}
        for kind in factors:
            for state in STATES:
                name = f"runs-{count}-{kind}-{state}"
                title = f"RPG on {count} runs, {FACTORS[kind]}, {STATES[state]} the state"
                path, _, seconds[name] = train(run, corpus, name, title,
                                               settings={**SETTINGS, "factors": kind, "state": state})
                folder = run.out / "adapters" / name
                folder.mkdir(parents=True, exist_ok=True)
                row[f"{kind}, {STATES[state]}"] = accuracies(host, generated(path, run.draws, folder))
        rows[str(count)] = row
    return {"task": entries[0][0]["task"], "draws": run.draws, "runs": rows, "training seconds": seconds,
            "settings": {**SETTINGS, **run.settings}}


def accuracies(host, adapters):
    return percent([100 * (1 - host.wrong(tensors)[host.plain].mean()) for tensors in adapters])


def check(result):
    if len(result["runs"]) == 1:  # a quick training is too short to learn the table of states
        return []
    row = result["runs"]["3"]
    gain = row["raw, with"][0] - row["raw, without"][0]
    return [] if gain > 10 else [f"on 3 runs the state gains {gain:.1f} points; expected 10"]


def lines(result):
    yield f"5 checkpoints each of independent runs of task {result['task']}; right answers in percent, {result['draws']} draws"
    counts = list(result["runs"])
    yield f"{'':32}" + "".join(f"{count + (' runs' if count != '1' else ' run'):>18}" for count in counts)
    for name in result["runs"][counts[0]]:
        kind, comma, state = name.partition(", ")
        label = f"{FACTORS[kind]}, {state} state" if comma else name
        cells = [result["runs"][count][name] for count in counts]
        yield f"{label:32}" + "".join(f"{mean:9.2f} ± {deviation:6.2f}" for mean, deviation in cells)


def draw(result, path):
    plots.draw_states(result, FACTORS, path)
