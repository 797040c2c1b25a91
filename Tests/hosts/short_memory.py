#!/usr/bin/env python3
"""Runs every call that works with memory in a process of its own, at a ladder of limits on the address space, and asks for
one thing: the call returns. A status is fine at any limit, the end of the process at none; and a call that was refused
left nothing behind.

    short_memory.py GENERATOR CORPUS WORK [--calls NAME,...] [--rooms MIB,...] [--large]

The limit is what the process has mapped when the call begins, and a room beyond. GENERATOR is of CORPUS, WORK an empty
folder; LORAGEN_LIBRARY names the library. --large makes adapters of 64 MiB beside them, whose calls end somewhere inside
the ladder.
"""

import argparse
import json
import os
import resource
import signal
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bindings/python/src"))
import loragen  # noqa: E402

ROOMS = [1, 4, 16, 32, 40, 48, 56, 64, 80, 96, 128, 160, 176, 180, 192, 208, 224, 240, 256, 288, 320, 384, 448, 512, 768, 1024]
PAGE = resource.getpagesize()


def save(path: Path, shapes: dict, seed: int, metadata: dict | None = None) -> None:
    """Writes a safetensors file whose numbers are small and differ."""
    header, offset = {"__metadata__": metadata or {"format": "pt"}}, 0
    for name, shape in sorted(shapes.items()):
        size = 4
        for extent in shape:
            size *= extent
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    block = struct.pack("<1024f", *(((i * 37 + seed * 101) % 256 - 128) / 1024 for i in range(1024)))
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for start in range(0, offset, len(block)):
            file.write(block[: min(len(block), offset - start)])


def adapter(folder: Path, seed: int, modules: int, width: int, rank: int) -> None:
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": ["q_proj"],
              "base_model_name_or_path": "x", "task_type": None, "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    shapes = {}
    for m in range(modules):
        key = f"base_model.model.model.layers.{m}.self_attn.q_proj.lora_"
        shapes[key + "A.weight"], shapes[key + "B.weight"] = [rank, width], [width, rank]
    save(folder / "adapter_model.safetensors", shapes, seed)


def kohya(path: Path, width: int, rank: int) -> None:
    """One fused matrix of Flux, which is taken apart."""
    save(path, {"lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": [rank, width],
                "lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight": [3 * width, rank]}, 5)


def large(work: Path) -> None:
    for i in range(4):
        adapter(work / "large" / f"t{i}", i, modules=4, width=16384, rank=32)
    kohya(work / "large.safetensors", 16384, 64)


def calls(generator: str, corpus: str, work: Path, has_large: bool) -> dict:
    """Names to pairs of functions: what is made before the limit holds, and the call."""
    out = work / "out"
    opened = lambda: loragen.Generator(generator)  # noqa: E731
    # Without the library, whose first call makes what later ones find made.
    bits = json.loads(Path(corpus, "corpus.jsonl").read_text().split("\n")[0])["bits"]
    drawn = lambda: loragen.Generator(generator).generate(bits=bits)  # noqa: E731
    first = str(next(path for path in sorted(Path(corpus).iterdir()) if path.is_dir()))
    none = lambda: None  # noqa: E731
    table = {
        "generator_open": (none, lambda _: loragen.Generator(generator)),
        "generate": (opened, lambda g: g.generate(bits=bits)),
        "generate-many": (opened, lambda g: g.generate(bits=bits, samples=500)),
        "generate-billion": (opened, lambda g: g.generate(bits=bits, samples=1000000)),
        "generate_file": (opened, lambda g: g.generate_file(out, bits=bits)),
        "adapters_open": (none, lambda _: loragen.Adapters(first)),
        "corpus_open": (none, lambda _: loragen.Corpus(corpus)),
        "corpus_check": (none, lambda _: loragen.Corpus.check(corpus)),
        "corpus_unpack": (lambda: loragen.Corpus(corpus), lambda c: c.unpack(out)),
        "verify": (none, lambda _: loragen.verify(first)),
        "doctor": (none, lambda _: loragen.doctor(corpus)),
        "nearest": (drawn, lambda a: loragen.nearest(a[0], corpus)),
        "compare": (drawn, lambda a: loragen.compare(a[0], a[0])),
        "convert": (none, lambda _: loragen.convert(first, out, loragen.Format.SAFETENSORS)),
    }
    for form in loragen.Format:
        table[f"save-{form.name.lower()}"] = (drawn, lambda a, form=form: a[0].save(out, form))
    for method, preset, settings in [
        ("mean", None, None), ("ridge", None, None), ("kernel-ridge", None, None), ("nearest", None, None),
        ("mlp", None, {"steps": 4}), ("cond-pdiff", None, {"steps": 4, "timesteps": 20, "samplingSteps": 2}),
        ("rpg", None, {"steps": 2, "timesteps": 20, "samplingSteps": 2}),
    ]:
        table[f"train-{method}"] = (
            lambda: loragen.Corpus(corpus),
            lambda c, m=method, p=preset, s=settings: loragen.train(c, out, method=m, preset=p, settings=s))
    if has_large:
        folder, one = work / "large", str(work / "large" / "t0")
        table |= {
            "large-adapters_open": (none, lambda _: loragen.Adapters(one)),
            "large-kohya": (none, lambda _: loragen.Adapters(str(work / "large.safetensors"))),
            "large-corpus": (none, lambda _: loragen.Corpus(str(folder))),
            "large-doctor": (none, lambda _: loragen.doctor(str(folder))),
            "large-verify": (none, lambda _: loragen.verify(one)),
            "large-nearest": (lambda: loragen.Adapters(one), lambda a: loragen.nearest(a[0], str(folder))),
            "large-compare": (lambda: loragen.Adapters(one), lambda a: loragen.compare(a[0], a[0])),
            "large-convert": (none, lambda _: loragen.convert(one, out, loragen.Format.NPZ)),
            "large-save": (lambda: loragen.Adapters(one), lambda a: a[0].save(out, loragen.Format.PEFT)),
            "large-train": (
                lambda: loragen.Corpus(str(folder)), lambda c: loragen.train(c, out, method="mean")),
        }
    return table


def mapped() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * PAGE


def child(prepare, call, room: int) -> None:
    """Ends the process with 0 when the call succeeded, 1 when it was refused for memory, 2 when Python itself had none, 5
    when it was refused for another reason."""
    try:
        loragen.load_library()
        made = prepare()
        limit = mapped() + (room << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        code = 0
        try:
            call(made)
        except loragen.LoragenError as error:
            code = 3 if isinstance(error, loragen.InternalError) else 1 if isinstance(error, loragen.OutOfMemoryError) else 5
        except MemoryError:
            code = 2
        os._exit(code)
    finally:
        os._exit(4)


def left(work: Path) -> list:
    return [str(path) for path in work.rglob(".loragen-tmp-*")]


def clear(path: Path) -> None:
    if path.is_dir():
        for inner in path.iterdir():
            clear(inner)
        path.rmdir()
    elif path.exists():
        path.unlink()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("generator")
    parser.add_argument("corpus")
    parser.add_argument("work", type=Path)
    parser.add_argument("--calls", type=lambda text: text.split(","))
    parser.add_argument("--rooms", type=lambda text: [int(room) for room in text.split(",")], default=ROOMS)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    given = parser.parse_args()
    if given.large:
        large(given.work)
    failures = 0
    for name, (prepare, call) in calls(given.generator, given.corpus, given.work, given.large).items():
        if given.calls and name not in given.calls:
            continue
        outcomes = []
        for room in given.rooms:
            process = os.fork()
            if process == 0:
                signal.alarm(120)
                child(prepare, call, room)
            status = os.waitpid(process, 0)[1]
            if os.WIFSIGNALED(status):
                outcome = signal.Signals(os.WTERMSIG(status)).name
            else:
                outcome = {0: "ok", 1: "refused", 2: "python", 5: "other"}.get(os.WEXITSTATUS(status), "failed")
            if outcome not in ("ok", "refused", "python", "other") or left(given.work):
                failures += 1
                print(f"FAIL  {name}: {outcome} with {room} MiB; left behind: {left(given.work)}")
            outcomes.append(outcome)
            for path in given.work.iterdir():
                if path.name.startswith("out") or path.name.startswith(".loragen"):
                    clear(path)
        if given.verbose:
            print(name, " ".join(f"{room}:{outcome}" for room, outcome in zip(given.rooms, outcomes)), flush=True)
        # What the last room, the largest, is not enough for was never called.
        if outcomes[-1] not in ("ok", "other") and name != "generate-billion":
            print(f"FAIL  {name}: {outcomes[-1]} also with {given.rooms[-1]} MiB")
            failures += 1
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
