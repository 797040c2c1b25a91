# SPDX-License-Identifier: Apache-2.0
"""Seconds and accuracy of the samplers, on one generator."""
import time

import plots
from bench import Contender, Line, fresh, loragen, measuring, percent, train
from conditional import SETTINGS, TASKS

SAMPLERS = [("ddpm", 1000), ("ddim", 200), ("ddim", 100), ("ddim", 60), ("ddim", 20), ("dpm-solver++", 20),
            ("dpm-solver++", 10), ("dpm-solver++", 5)]
QUICK = [("ddim", 60), ("ddim", 20), ("dpm-solver++", 10)]
DRAWS = 2


def run(run):
    corpus = loragen.Corpus(measuring.CORPUS)
    path, _, _ = train(run, corpus, "rpg-0", "RPG, seed 0", settings=SETTINGS)
    adapters, jobs, milliseconds = fresh(run.out / "adapters" / "speed"), [], {}
    contenders = {}
    with loragen.Generator(path) as generator:
        for sampler, steps in QUICK if run.quick else SAMPLERS:
            contender = Contender(f"{sampler}-{steps}", f"{sampler}, {steps} steps", seeds=tuple(range(DRAWS)))
            contenders[contender.name], line = contender, Line(f"Sampling by {contender.label}")
            these = list(measuring.jobs_of(contender, TASKS, adapters, None))
            generator.generate(bits=TASKS[0], sampler=sampler, steps=steps)  # what is made once is not timed
            spent = 0.0
            for i, job in enumerate(these, 1):
                start = time.perf_counter()
                made = generator.generate(bits=job.bits, seed=job.seed, sampler=sampler, steps=steps)[0]
                spent += time.perf_counter() - start
                made.save(job.folder)
                line.count(i, len(these))
            milliseconds[contender.name] = 1000 * spent / len(these)
            line.end(f"{milliseconds[contender.name]:.1f} ms an adapter")
            jobs += these
        default = [generator.sampler, generator.steps]
    answers, errors = measuring.measure(jobs, run.jobs, "Running in ONNX Runtime")
    if errors:
        raise SystemExit(errors[0])
    rows = {}
    for name, contender in contenders.items():
        scores = measuring.accuracies(answers[name], TASKS)
        rows[name] = {"label": contender.label, "accuracy": percent(scores.mean(0)),
                      "over draws": round(float(scores.std(0, ddof=1).mean()), 3), "ms": round(milliseconds[name], 2),
                      "share of the first": round(milliseconds[name] / milliseconds[next(iter(contenders))], 4)}
    return {"tasks": len(TASKS), "draws": DRAWS, "threads": loragen.threads(), "cpu": measuring.cpu_name(), "default": default,
            "rows": rows, "settings": {**SETTINGS, **run.settings}}


def check(result):
    return []


def lines(result):
    first = next(iter(result["rows"].values()))["label"]
    yield (f"One generator, {result['tasks']} tasks, {result['draws']} draws each, one adapter a call, "
           f"{result['threads']} threads; the default is {result['default'][0]}, {result['default'][1]} steps")
    yield f"{'':26}{'right answers, %':>18}{'± draws':>9}{'ms':>10}   of the time of {first}"
    for row in result["rows"].values():
        mean, deviation = row["accuracy"]
        yield (f"{row['label']:26}{mean:10.2f} ± {deviation:5.2f}{row['over draws']:9.2f}{row['ms']:10.1f}"
               f"{100 * row['share of the first']:9.2f} %")


def draw(result, path):
    plots.draw_speed(result, path)
