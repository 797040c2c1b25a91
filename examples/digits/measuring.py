# SPDX-License-Identifier: Apache-2.0
"""Trains generators with loragen, makes adapters with them, and measures these in ONNX Runtime.

Every adapter takes the way of a user's: generate_lora(), a PEFT folder on disk, the host that reads this folder.
"""
import hashlib
import json
import math
import multiprocessing
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "bindings/python/src"))

import evaluate  # noqa: E402
import loragen  # noqa: E402

CORPUS = HERE / "digits.corpus.safetensors"


@dataclass(frozen=True)
class Contender:
    """A way to an adapter for a task; without a method there is nothing to train."""

    name: str
    label: str
    method: str = ""
    preset: str = "default"
    seeds: tuple = (0,)


class Line:
    """A line of progress that is written over itself; where that cannot be, a line every ten seconds."""

    def __init__(self, title):
        self.title, self.start, self.shown = title, time.monotonic(), -math.inf
        self.terminal = sys.stdout.isatty()
        if not self.terminal:
            print(title, flush=True)

    @property
    def seconds(self):
        return time.monotonic() - self.start

    def show(self, text, left=math.nan):
        now = time.monotonic()
        if now - self.shown < (0.1 if self.terminal else 10):
            return
        self.shown = now
        rest = f", {clock(left)} left" if math.isfinite(left) else ""
        print(f"\r\x1b[K{self.title}: {text}{rest}" if self.terminal else f"    {text}{rest}",
              end="" if self.terminal else "\n", flush=True)

    def count(self, done, total, text=""):
        left = self.seconds / done * (total - done) if done else math.nan
        self.show(f"{done} of {total}{text}", left)

    def end(self, text):
        took = f"{text}, {clock(self.seconds)}"
        print(f"\r\x1b[K{self.title}: {took}" if self.terminal else f"    {took}", flush=True)


def clock(seconds):
    return f"{seconds / 60:.0f} min {seconds % 60:.0f} s" if seconds >= 120 else f"{seconds:.0f} s"


def train(contender, corpus, path, title, **options):
    """Trains, shows the progress, writes the generator to `path`; returns its report and the seconds that it took."""
    line = Line(title)

    def show(p):
        skill = f", skill {p.best_skill:.3f}" if math.isfinite(p.best_skill) else ""
        line.show(f"{p.stage} step {p.step} of {p.steps}, loss {p.loss:.4f}{skill}", p.seconds_left)

    generator = loragen.train(corpus, path, method=contender.method, preset=contender.preset, progress=show, **options)
    with generator:
        report = generator.report
    held_out = "test" in report
    line.end(f"skill {report['test']['skill']['generator']:.3f} on the weights of the test tasks" if held_out else "done")
    return report, line.seconds


def trained(contender, corpus, path, title, *, checkpoint, settings, **options):
    """`train`, unless `path` was made with these options before: (report, seconds of training over all sittings).
    `checkpoint` is a file in which an unfinished training is kept."""
    notes = path.with_suffix(".json")  # what the generator was made with, and the seconds so far
    made = {"settings": settings, **options}
    known = json.loads(notes.read_text()) if notes.exists() else {}
    same = {key: known.get(key) for key in made} == made
    if same and path.exists():
        with loragen.Generator(path) as generator:
            print(f"{title}: was done before, {path}")
            return generator.report, known["seconds"]

    before = known.get("seconds", 0.0) if same and checkpoint.exists() else 0.0
    path.unlink(missing_ok=True)
    start = time.monotonic()
    try:
        report, _ = train(contender, corpus, path, title, settings=settings, checkpoint=checkpoint, **options)
    finally:
        seconds = round(before + time.monotonic() - start, 1)
        notes.write_text(json.dumps({**made, "seconds": seconds}))
    return report, seconds


# ------------------------------------------------------------------------------------------------ adapters, answers


@dataclass(frozen=True)
class Job:
    """One adapter: generated into `folder`, or there already when `generator` is None."""

    contender: str
    place: tuple  # (seed's index, task's index)
    bits: str
    seed: int
    folder: Path
    generator: "Path | None"
    options: tuple = ()  # of generate(), pairs


_session, _generators, _answers = None, {}, {}


def _start_worker():
    global _session
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    loragen.set_threads(1)
    _session = evaluate.open_session()


def _run(job):
    """(job, 0 or 1 for each test image, error)."""
    try:
        if job.generator:
            if job.generator not in _generators:
                _generators[job.generator] = loragen.Generator(job.generator)
            _generators[job.generator].generate(
                bits=job.bits, seed=job.seed, **dict(job.options))[0].save(job.folder)
        tensors = evaluate.load_adapter(job.folder)
        digest = hashlib.sha256()
        for name in sorted(tensors):
            digest.update(tensors[name].tobytes())
        key = digest.digest()  # the mean adapter is the same for every task
        if key not in _answers:
            _answers[key] = evaluate.predictions(_session, tensors).astype(np.uint8)
        return job, _answers[key], None
    except Exception as error:  # noqa: BLE001: a file that cannot be loaded is a result
        return job, None, f"{job.contender} {job.bits}: {type(error).__name__}: {error}"


def jobs_of(contender, tasks, folder, generator, **options):
    for s, seed in enumerate(contender.seeds):
        parent = folder / (contender.name if len(contender.seeds) == 1 else f"{contender.name}-seed{seed}")
        parent.mkdir(parents=True, exist_ok=True)
        for t, bits in enumerate(tasks):
            yield Job(contender.name, (s, t), bits, seed, parent / bits, generator,
                      tuple(options.items()))


def measure(jobs, processes, title):
    """({contender: answers [seeds, tasks, images]}, errors)."""
    jobs = sorted(jobs, key=lambda job: job.place[1])  # contenders mixed, so that the time left is right from the start
    line, answers, errors = Line(title), {}, []
    for job in jobs:
        s, t, _ = answers.get(job.contender, np.zeros((0, 0, 0))).shape
        shape = (max(s, job.place[0] + 1), max(t, job.place[1] + 1), len(evaluate.LABELS))
        answers[job.contender] = np.zeros(shape, np.uint8)
    # Not fork: the library and ONNX Runtime have threads of their own.
    with multiprocessing.get_context("spawn").Pool(processes, _start_worker) as pool:
        for done, (job, answer, error) in enumerate(pool.imap_unordered(_run, jobs, chunksize=4), 1):
            if error:
                errors.append(error)
            else:
                answers[job.contender][job.place] = answer
            line.count(done, len(jobs))
        pool.close()
        pool.join()  # their CPU time is counted when they end
    line.end(f"{len(jobs)} adapters")
    return answers, errors


def base_answers():
    """Of the model without an adapter, [images]."""
    return evaluate.predictions(evaluate.open_session(), {}).astype(np.uint8)


def wanted(tasks):
    """What each task wants each test image to be answered with, [tasks, images]."""
    return np.array([[int(bit) for bit in bits] for bits in tasks], np.uint8)[:, evaluate.LABELS]


def accuracies(answers, tasks):
    """Percent of right answers: answers [seeds, tasks, images] to [seeds, tasks]."""
    return 100 * (answers == wanted(tasks)).mean(-1)


def cross_accuracies(answers, tasks):
    """Percent of right answers of every adapter on every task: [..., images] to [..., tasks]."""
    a, w = answers.astype(np.float32), wanted(tasks).astype(np.float32)
    return 100 * (a @ w.T + (1 - a) @ (1 - w).T) / a.shape[-1]


def cpu_name():
    try:
        for text in Path("/proc/cpuinfo").read_text().splitlines():
            if text.startswith("model name"):
                return text.split(":", 1)[1].strip()
    except OSError:
        pass
    return "unknown CPU"


def cpu_count():
    return len(os.sched_getaffinity(0))
