#!/usr/bin/env python3
"""How time and memory of RPG grow with the adapters' size: made-up adapters of LLaMA-7B's shapes (q, k, v, up and down
projections, hidden 4096, feed-forward 11008), training steps and streamed samples, each in a process of its own.

    Benchmarks/scale.py [--only NAME]... [--folder FOLDER]

Builds the measuring program, runs the rows of ROWS that Benchmarks/scale.json does not have yet (--only: those, anew), and
draws Benchmarks/scale.svg (with matplotlib, if there is one). Corpora and generators are deleted after each row. The largest
rows need 22 GB of memory and 12 GB of disk. Of the published recipe a step differs in batch and diffusion batch, which
are in the row's settings.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
RESULT = HERE / "scale.json"
MIB = 1 << 20


def network(tokens: int, width: int, batch: int) -> dict:
    return {"tokenSize": tokens, "width": width, "outputWidth": 0, "channels": "8,16,8", "batch": 1,
            "diffusionBatch": batch}


STEP = {"batch": 1, "diffusionBatch": 8}
# name: rank, layers, magnitudes, then a preset with settings for training or sampling, and for sampling its memory limit
ROWS = {
    # One network for all sizes: what grows with the adapter.
    "train 1M": (16, 1, 0, "train", "base", network(4096, 1024, 32)),
    "train 8M": (16, 9, 0, "train", "base", network(4096, 1024, 32)),
    "train 28M": (16, 32, 0, "train", "base", network(4096, 1024, 32)),
    "train 113M": (64, 32, 1, "train", "base", network(4096, 1024, 32)),
    "sample 1M": (16, 1, 0, "sample", "base", network(4096, 1024, 32), 256 * MIB),
    "sample 8M": (16, 9, 0, "sample", "base", network(4096, 1024, 32), 256 * MIB),
    "sample 28M": (16, 32, 0, "sample", "base", network(4096, 1024, 32), 256 * MIB),
    "sample 113M": (64, 32, 1, "sample", "base", network(4096, 1024, 32), 256 * MIB),
    # The published networks.
    "train 28M base": (16, 32, 0, "train", "base", STEP),
    "sample 28M base": (16, 32, 0, "sample", "base", STEP, 512 * MIB),
    "train 113M wide tokens": (64, 32, 1, "train", "base", network(16384, 2048, 16)),
    "sample 113M large": (64, 32, 1, "sample", "large", STEP, 512 * MIB),
}
TRAINING_STEPS = 3
SAMPLING_STEPS = 10


def build() -> str:
    environment = dict(os.environ, LORAGEN_BENCHMARKS="1")
    command = ["swift", "build", "-c", "release", "--scratch-path", ".build-bench", "--product", "scale"]
    subprocess.run(command, cwd=HERE.parent, env=environment, check=True, stdout=sys.stderr)
    shown = subprocess.run(
        [*command, "--show-bin-path"], cwd=HERE.parent, env=environment, check=True, capture_output=True, text=True)
    return shown.stdout.strip() + "/scale"


def run(program: str, *arguments: object) -> dict:
    command = [program, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def measure(program: str, arguments: argparse.Namespace, row: tuple) -> dict:
    folder = arguments.folder
    rank, layers, magnitudes, kind, preset, settings, *limit = row
    corpus, generator, adapter = folder / "corpus", folder / "generator.safetensors", folder / "adapter"
    settings = json.dumps(settings)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        if kind == "train":
            run(program, "corpus", corpus, rank, layers, magnitudes, 8 if rank == 16 else 2)
            found = run(program, "train", corpus, generator, preset, settings, arguments.steps)
        else:
            run(program, "untrained", rank, layers, magnitudes, generator, preset, settings)
            found = run(program, "sample", generator, adapter, limit[0], SAMPLING_STEPS, arguments.seconds)
            found["generatorBytes"] = generator.stat().st_size
        return {
            "rank": rank, "layers": layers, "magnitudes": bool(magnitudes), "preset": preset,
            "settings": json.loads(settings), **found,
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def seconds(row: dict) -> float:
    """Of a step or a sample; of a single step, with what comes before it."""
    return row["first"] if row.get("steps") == 1 else row["seconds"]


def draw(rows: dict) -> None:
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "scale"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6))
    for kind, colour in (("train", "tab:blue"), ("sample", "tab:orange")):
        series = sorted(
            (row["numbers"] / 1e6, seconds(row), row["peak"] / 2**30, row["anonymous"] / 2**30)
            for name, row in rows.items() if name.startswith(kind) and len(name.split()) == 2)
        others = [
            (row["numbers"] / 1e6, seconds(row), row["peak"] / 2**30, " ".join(name.split()[2:]))
            for name, row in rows.items() if name.startswith(kind) and len(name.split()) > 2]
        if series:
            axes[0].plot([r[0] for r in series], [r[1] for r in series], "o-", color=colour, label=kind)
            axes[1].plot([r[0] for r in series], [r[2] for r in series], "o-", color=colour, label=f"{kind}, peak")
            axes[1].plot([r[0] for r in series], [r[3] for r in series], ".--", color=colour, label=f"{kind}, own")
        for x, time, peak, name in others:
            for axis, y in ((axes[0], time), (axes[1], peak)):
                axis.plot([x], [y], "s", color=colour)
                axis.annotate(name, (x, y), fontsize=7, xytext=(3, 3), textcoords="offset points")
    for axis, label in zip(axes, ("seconds (a step, a sample)", "GiB")):
        axis.set(xscale="log", yscale="log", xlabel="million numbers", ylabel=label)
        axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(HERE / "scale.svg", metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=ROWS, help="a row to measure anew")
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("scale-files"), help="for the large files")
    parser.add_argument("--steps", type=int, default=TRAINING_STEPS, help="of a training")
    parser.add_argument(
        "--seconds", type=int, default=600, help="after which a sample is cut; its whole time is then extrapolated")
    parser.add_argument("--program", help="the measuring program; built if left out")
    arguments = parser.parse_args()
    rows = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    program = arguments.program or build()
    for name in arguments.only or [name for name in ROWS if name not in rows]:
        rows[name] = measure(program, arguments, ROWS[name])
        ordered = {name: rows[name] for name in ROWS if name in rows}
        RESULT.write_text(json.dumps(ordered, indent=1) + "\n")
        print(name, f"{rows[name]['numbers']:,} numbers, {seconds(rows[name]):.2f} s,",
              f"peak {rows[name]['peak'] / 2**30:.2f} GiB, own {rows[name]['anonymous'] / 2**30:.2f} GiB", flush=True)
    draw(rows)


if __name__ == "__main__":
    main()
