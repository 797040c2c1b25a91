#!/usr/bin/env python3
"""Runs every call that works with memory in a process of its own, at a ladder of limits on the address space, and asks for
one thing: the call returns. It is refused with LORAGEN_MEMORY at the lowest limit and done at the highest; in between either
is fine, the end of the process nowhere; and a call that was refused left nothing behind.

    short_memory.py GENERATOR CORPUS WORK [--calls NAME,...] [--rooms MIB,...] [--large]
    LD_PRELOAD=failing.so short_memory.py GENERATOR CORPUS WORK --failing MOST [--calls NAME,...]

The limit is what the process has mapped when the call begins, and a room beyond. GENERATOR is of CORPUS, WORK an empty
folder; LORAGEN_LIBRARY names the library. --large makes adapters of 64 MiB beside them, whose calls end somewhere inside
the ladder. --failing sets no limit: one allocation fails (failing.cpp), each in turn, MOST of them where there are more; the
call must be refused, or done with the same result. Needs NumPy, safetensors and onnx.
"""

import argparse
import ctypes
import hashlib
import json
import os
import resource
import shutil
import signal
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bindings/python/src"))
import loragen  # noqa: E402
from loragen import Apply, Format  # noqa: E402
from killed import digest, make_model  # noqa: E402

FUZZ = Path(__file__).resolve().parents[1] / "fuzz"
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
    model, graph, adapter = work / "model", work / "model.onnx", work / "adapter"
    packed, made_onnx = FUZZ / "training/bits.safetensors", work / "out.onnx"

    def copied():  # a folder without a manifest
        shutil.copytree(first, out / "task")

    def applied(mode, to, source=graph):
        loragen.apply(source, None if mode is Apply.REMOVE else adapter, to, mode)

    def removable():
        applied(Apply.INJECT, work / "out-injected.onnx")
        return work / "out-injected.onnx"

    table = {
        "generator_open": (none, lambda _: loragen.Generator(generator)),
        "generate": (opened, lambda g: g.generate(bits=bits)),
        "generate-many": (opened, lambda g: g.generate(bits=bits, samples=500)),
        "generate-billion": (opened, lambda g: g.generate(bits=bits, samples=1000000)),
        "generate_file": (opened, lambda g: g.generate_file(out, bits=bits)),
        "adapters_open": (none, lambda _: loragen.Adapters(first)),
        "corpus_open": (none, lambda _: loragen.Corpus(corpus)),
        "corpus_check": (none, lambda _: loragen.Corpus.check(corpus)),
        "corpus_check-packed": (none, lambda _: loragen.Corpus.check(packed)),
        "corpus_init": (copied, lambda _: loragen.Corpus.init(out)),
        "corpus_unpack": (lambda: loragen.Corpus(corpus), lambda c: c.unpack(out)),
        "generator_check": (opened, lambda g: g.check()),
        "adapters_open_for": (none, lambda _: loragen.Adapters(adapter, base=model)),
        "dlpack": (drawn, lambda a: next(iter(a[0].values())).__dlpack__()),
        "verify": (none, lambda _: loragen.verify(first)),
        "verify-base": (none, lambda _: loragen.verify(adapter, model)),
        "verify-onnx": (none, lambda _: loragen.verify(adapter, graph)),
        "doctor": (none, lambda _: loragen.doctor(corpus)),
        "nearest": (drawn, lambda a: loragen.nearest(a[0], corpus)),
        "compare": (drawn, lambda a: loragen.compare(a[0], a[0])),
        "merge": (none, lambda _: applied(Apply.MERGE, out, model)),
        "merge-file": (none, lambda _: applied(Apply.MERGE, work / "out.safetensors", model / "model.safetensors")),
        "merge-onnx": (none, lambda _: applied(Apply.MERGE, made_onnx)),
        "unmerge": (none, lambda _: applied(Apply.UNMERGE, out, model)),
        "inject": (none, lambda _: applied(Apply.INJECT, made_onnx)),
        "inputs": (none, lambda _: applied(Apply.INPUTS, made_onnx)),
        "remove": (removable, lambda injected: applied(Apply.REMOVE, made_onnx, injected)),
    }
    # The formats that take some adapters only get one of those.
    special = {Format.DIFFUSERS: ("diffusers", {}), Format.KOHYA: ("kohya", {"model": "sd1"}),
               Format.GGUF: ("attention", {"base": "architecture=llama,heads=2,kv-heads=1"})}
    for form in Format:
        seed, more = special.get(form, (None, {}))
        source = FUZZ / "corpus/adapter" / seed if seed else first
        target = work / "out.npz" if form is Format.BY_SUFFIX else out
        table[f"save-{form.name.lower()}"] = (
            lambda source=source: loragen.Adapters(source),
            lambda a, form=form, target=target, more=more: a[0].save(target, form, **more))
        table[f"convert-{form.name.lower()}"] = (
            none, lambda _, source=source, form=form, target=target, more=more: loragen.convert(source, target, form, **more))
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


def outcome_of(call, made, results: list) -> int:
    """0 when the call succeeded, 1 when it was refused for memory, 2 when Python itself had none, 3 when the library names a
    defect of its own, 5 when it was refused for another reason."""
    try:
        results.append(call(made))
    except loragen.LoragenError as error:
        return 3 if isinstance(error, loragen.InternalError) else 1 if isinstance(error, loragen.OutOfMemoryError) else 5
    except MemoryError:
        return 2
    return 0


OUTCOMES = {0: "ok", 1: "refused", 2: "python", 5: "other"}


def told(results: list) -> bytes:
    """A digest of what the call returned, where that is for reading."""
    shown = [str(result) for result in results if isinstance(result, (list, dict, loragen.Analysis))]
    return hashlib.sha256("".join(shown).encode()).digest()


def in_child(prepare, restrict, call) -> "tuple[str, int, bytes]":
    """How the call ended in a process of its own, the number that `restrict` gave a function for, and what it told."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            signal.alarm(120)
            loragen.load_library()
            made = prepare()
            number = restrict()
            results: list = []
            code = outcome_of(call, made, results)
            os.write(writing, struct.pack("q", number()) + told(results))
            os._exit(code)
        finally:
            os._exit(4)
    os.close(writing)
    status = os.waitpid(process, 0)[1]
    given = os.read(reading, 40)
    os.close(reading)
    ending = (signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status)
              else OUTCOMES.get(os.WEXITSTATUS(status), "failed"))
    return ending, struct.unpack("q", given[:8])[0] if given else 0, given[8:]


def limited(room: int):
    def restrict():
        resource.setrlimit(resource.RLIMIT_AS, (mapped() + (room << 20), resource.RLIM_INFINITY))
        return lambda: 0
    return restrict


def failing(at: int):
    """One allocation fails, none with -1."""
    def restrict():
        library = ctypes.CDLL(None)
        library.failing_start(ctypes.c_long(at), ctypes.c_long(at + 1))
        library.failing_stop.restype = ctypes.c_long
        return library.failing_stop
    return restrict


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
    parser.add_argument("--failing", type=int, metavar="MOST")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    given = parser.parse_args()
    make_model(given.work)
    if given.large:
        large(given.work)
    failures = 0

    def run(name, prepare, call, restrict, allowed, where) -> "tuple[str, int, object]":
        """How it ended, the number of allocations, and all that came of it."""
        nonlocal failures
        ending, number, told = in_child(prepare, restrict, call)
        if ending not in allowed or left(given.work):
            failures += 1
            print(f"FAIL  {name}: {ending} {where}; left behind: {left(given.work)}")
        made = [path for path in sorted(given.work.iterdir()) if path.name.startswith(("out", ".loragen"))]
        written = [(path.name, digest(path)) for path in made]
        for path in made:
            clear(path)
        return ending, number, (told, written)

    for name, (prepare, call) in calls(given.generator, given.corpus, given.work, given.large).items():
        if given.calls and name not in given.calls:
            continue
        if given.failing:
            if name == "generate-billion":
                continue
            _, count, expected = run(name, prepare, call, failing(-1), ("ok",), "with nothing to fail")
            numbers = sorted({i * count // given.failing for i in range(given.failing)}) if count > given.failing else range(count)
            endings = []
            for at in numbers:
                where = f"where allocation {at} of {count} fails"
                ending, _, found = run(name, prepare, call, failing(at), ("ok", "refused"), where)
                endings.append(ending)
                if ending == "ok" and found != expected:
                    failures += 1
                    print(f"FAIL  {name}: another result {where}")
            if given.verbose:
                print(name, f"{count} allocations, {len(endings)} failed: {endings.count('ok')} ok, "
                      f"{endings.count('refused')} refused", flush=True)
            if count == 0:
                failures += 1
                print(f"FAIL  {name}: no allocation was seen")
            continue
        endings = [run(name, prepare, call, limited(room), ("ok", "refused", "python", "other"), f"with {room} MiB")[0]
                   for room in given.rooms]
        if given.verbose:
            print(name, " ".join(f"{room}:{ending}" for room, ending in zip(given.rooms, endings)), flush=True)
        # A call that the least room does not refuse, or that the largest does not let through, proves nothing.
        if endings[0] != "refused" or endings[-1] != ("refused" if name == "generate-billion" else "ok"):
            print(f"FAIL  {name}: {endings[0]} with {given.rooms[0]} MiB, {endings[-1]} with {given.rooms[-1]}")
            failures += 1
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
