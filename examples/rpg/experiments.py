#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Five experiments with RPG on real adapters, each beside what it has to beat, measured by a real host.

    conditional     20 tasks that were not trained on, beside baselines, fine-tuned adapters and controls
    unconditional   50 checkpoints of one run: accuracy, and similarity against that of noise
    states          checkpoints of 1, 3 and 10 runs, with and without the permutation state
    small           60, 100 and 160 training tasks, the defaults beside baselines
    speed           accuracy and time of the samplers

    python experiments.py                               # all; Ctrl-C, and the same command again to go on
    python experiments.py conditional speed             # these
    python experiments.py --quick                       # short trainings, few draws
    python experiments.py conditional --set steps=2000  # another setting of the generators (docs/rpg.md)

Adapters are generated, saved as PEFT folders and applied by ONNX Runtime. OUT keeps the generators, so that a second run
with the same settings only measures, and an unfinished training goes on where it stopped. OUT then holds
NAME.json, NAME.txt and NAME.png for each experiment.

The library is found as bindings/python/README.md says: LORAGEN_LIBRARY=.../libloragen.so.0 names it.

Exit status 1: RPG did not do what its README says in the roughest terms (see `check` in each experiment's file).
"""
import argparse
import datetime
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import conditional
import small
import speed
import states
import unconditional
from bench import HERE, ROOT, demo, loragen, measuring

EXPERIMENTS = {"conditional": conditional, "unconditional": unconditional, "states": states, "small": small,
               "speed": speed}
QUICK_SETTINGS = {"steps": 150, "batch": 16}


@dataclass
class Run:
    """How the experiments are run."""

    out: Path
    quick: bool = False
    jobs: int = 2
    draws: int = 10
    seeds: int = 3
    settings: dict = field(default_factory=dict)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", nargs="*", choices=[[], *EXPERIMENTS], help="which ones (all)", metavar="experiment")
    parser.add_argument("--out", type=Path, default=ROOT / "out/rpg", help="folder for everything (out/rpg)")
    parser.add_argument("--quick", action="store_true", help="short trainings, few draws; two minutes")
    parser.add_argument("--draws", type=int, help="adapters for each task (10)")
    parser.add_argument("--seeds", type=int, help="conditional generators, each of its own training seed (3)")
    parser.add_argument("--jobs", type=int, default=min(2, measuring.cpu_count()), help="processes that measure (2)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                        help="override a setting of all of RPG's generators; may be repeated")
    parser.add_argument("--record", action="store_true", help="also write into examples/rpg/results")
    args = parser.parse_args()
    if args.quick and args.record:
        parser.error("a quick run is not worth recording")
    draws, seeds = args.draws or (3 if args.quick else 10), args.seeds or (1 if args.quick else 3)
    if min(draws, seeds, args.jobs) < 1:
        parser.error("--draws, --seeds and --jobs must be at least 1")
    try:
        settings = {**(QUICK_SETTINGS if args.quick else {}), **demo.settings_of(args.set)}
    except ValueError as error:
        parser.error(str(error))

    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "adapters").mkdir(exist_ok=True)
    run = Run(args.out, args.quick, args.jobs, draws, seeds, settings)
    failures = []
    for name in args.experiment or EXPERIMENTS:
        start, experiment = time.monotonic(), EXPERIMENTS[name]
        print(f"== {name}", flush=True)
        result = {"date": datetime.date.today().isoformat(), "cpu": measuring.cpu_name(), "cpus": measuring.cpu_count(),
                  "loragen": loragen.version(), **experiment.run(run)}
        result["seconds"] = round(time.monotonic() - start, 1)
        text = "\n".join(experiment.lines(result))
        print(f"\n{text}\n")
        for folder in [args.out] + ([HERE / "results"] if args.record else []):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.json").write_text(demo.compact(result) + "\n")
            (folder / f"{name}.txt").write_text(text + "\n")
            experiment.draw(result, folder / f"{name}.png")
            print(f"Wrote {name}.json, {name}.txt and {name}.png into {folder}")
        failures += [f"{name}: {failure}" for failure in experiment.check(result)]
        print(f"== {name}: {measuring.clock(result['seconds'])}\n", flush=True)
    for failure in failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nstopped; the same command goes on from here")
    except loragen.LoragenError as error:
        sys.exit(f"\n{error}")
