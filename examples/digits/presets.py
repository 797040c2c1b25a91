#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains presets of COND P-DIFF on one corpus and puts them beside each other: `default`, and `nlp-small`, the published
language topology at a size that two cores can train, with statistics pooled over all tasks.

    python presets.py                                       # Ctrl-C, and the same command again to go on
    python presets.py --set nlp-small:steps=6000            # another setting of one preset
    python presets.py --record                              # also into results/presets.json

So that two cores need minutes, nlp-small is trained for fewer steps than its preset says and drawn from by 50 steps of DDIM
instead of 1000 of DDPM; the result names every setting that is not the preset's.

The training's state is kept in OUT/PRESET.checkpoint every 30 seconds (--checkpoint FOLDER: elsewhere), and a finished
generator is kept too: running again with the same settings measures it without training. Accuracy is measured as in
demo.py: adapters saved as PEFT folders, loaded by ONNX Runtime, every test task and every seen one.
"""
import argparse
import datetime
import json
import sys
from pathlib import Path

import demo
import measuring
from measuring import HERE, ROOT, Contender, loragen

PRESETS = {
    "default": {},
    "nlp-small": {"autoencoderSteps": 2000, "steps": 2000, "sampler": "ddim", "samplingSteps": 50},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "out/presets", help="folder for everything (out/presets)")
    parser.add_argument("--checkpoint", type=Path, help="folder for the state of unfinished trainings (OUT)")
    parser.add_argument("--preset", action="append", choices=PRESETS, help="only these; may be repeated")
    parser.add_argument("--set", action="append", default=[], metavar="PRESET:NAME=VALUE",
                        help="override a setting of a preset; may be repeated")
    parser.add_argument("--jobs", type=int, default=min(2, measuring.cpu_count()), help="processes that measure (2)")
    parser.add_argument("--record", action="store_true", help="also write examples/digits/results/presets.json")
    args = parser.parse_args()
    settings = {name: dict(PRESETS[name]) for name in args.preset or PRESETS}
    for text in args.set:
        name, colon, rest = text.partition(":")
        if not colon or name not in settings:
            parser.error(f"--set {text}: expected PRESET:NAME=VALUE, as in --set nlp-small:steps=6000")
        try:
            settings[name].update(demo.settings_of([rest]))
        except ValueError as error:
            parser.error(str(error))

    args.out.mkdir(parents=True, exist_ok=True)
    (args.checkpoint or args.out).mkdir(parents=True, exist_ok=True)
    corpus = loragen.Corpus(measuring.CORPUS)
    contenders = [Contender(name, name, "cond-pdiff", name) for name in settings]
    reports = {
        c.name: measuring.trained(
            c, corpus, demo.generator_path(args.out, c), f"Training {c.name}", settings=settings[c.name],
            checkpoint=(args.checkpoint or args.out) / f"{c.name}.checkpoint")
        for c in contenders}

    tasks = {"test": demo.tasks_of(corpus, loragen.Split.TEST, False),
             "seen": demo.tasks_of(corpus, loragen.Split.TRAIN, False)}
    both, count = tasks["test"] + tasks["seen"], len(tasks["test"])
    jobs = [job for c in contenders
            for job in measuring.jobs_of(c, both, args.out / "adapters", demo.generator_path(args.out, c))]
    answers, errors = measuring.measure(jobs, args.jobs, "Generating, saving, loading, running in ONNX Runtime")
    if errors:
        raise SystemExit(errors[0])

    result = {"date": datetime.date.today().isoformat(), "cpu": measuring.cpu_name(), "presets": {}}
    print(f"\n{'preset':12}{'skill on test weights':>24}{'test tasks, %':>18}{'seen tasks, %':>18}{'training':>16}")
    for name in reports:
        report, seconds = reports[name]
        scores = measuring.accuracies(answers[name], both)[0]
        parts = {"test": scores[:count], "seen": scores[count:]}
        accuracy = {split: [round(float(v), 3) for v in (s.mean(), s.std(ddof=1))] for split, s in parts.items()}
        skill = {split: report[split]["skill"]["generator"] for split in ("validation", "test")}
        result["presets"][name] = {"settings": settings[name], "accuracy": accuracy, "skill on weights": skill, "training seconds": seconds,
                                   "verdict of the report": report["verdict"]}
        cells = [f"{mean:.2f} ± {deviation:.2f}" for mean, deviation in accuracy.values()]
        took = "" if seconds is None else measuring.clock(seconds)
        print(f"{name:12}{skill['test']:>24.3f}{cells[0]:>18}{cells[1]:>18}{took:>16}")

    for folder in [args.out] + ([HERE / "results"] if args.record else []):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "presets.json").write_text(demo.compact(result) + "\n")
        print(f"Wrote presets.json into {folder}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nstopped; the same command goes on from here")
    except loragen.LoragenError as error:
        sys.exit(f"\n{error}")
