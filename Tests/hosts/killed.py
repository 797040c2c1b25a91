"""Ends every command that writes, at random moments: by Ctrl-C, by SIGTERM and by kill -9.

    python3 Tests/hosts/killed.py LORAGEN GENERATOR CORPUS BITS [COUNT]

COUNT moments for each command and signal (10; 200 before a release). Whatever the moment, a target holds nothing, what was
there before, or all of the new; a source stays as it is; Ctrl-C and SIGTERM leave no temporary file, and what kill -9 leaves
is removed by the next run of the command. Needs NumPy, safetensors and onnx.
"""

import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy
import onnx
from safetensors.numpy import save_file

PREFIX = ".loragen-tmp-"
HIDDEN, LAYERS = 768, 8


def make_model(folder: Path) -> None:
    """A model and an adapter of its modules, large enough that writing takes a while."""
    generator = numpy.random.default_rng(0)
    names = [f"model.layers.{layer}.self_attn.{name}" for layer in range(LAYERS) for name in ("q_proj", "v_proj")]
    (folder / "model").mkdir()
    weights = {name + ".weight": generator.standard_normal((HIDDEN, HIDDEN), dtype=numpy.float32) for name in names}
    save_file(weights, folder / "model/model.safetensors", metadata={"format": "pt"})
    (folder / "model/config.json").write_text('{"model_type": "llama", "num_hidden_layers": 8}')
    make_graph(folder / "model.onnx", weights)
    (folder / "adapter").mkdir()
    tensors = {}
    for name in names:
        for side, shape in (("A", (64, HIDDEN)), ("B", (HIDDEN, 64))):
            tensors[f"base_model.model.{name}.lora_{side}.weight"] = generator.standard_normal(shape, dtype=numpy.float32)
    save_file(tensors, folder / "adapter/adapter_model.safetensors", metadata={"format": "pt"})
    (folder / "adapter/adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 64, "lora_alpha": 64, "target_modules": ["q_proj", "v_proj"]}))


def make_graph(path: Path, weights: "dict[str, numpy.ndarray]") -> None:
    """The same weights in an ONNX model, each times the input."""
    helper, real = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [helper.make_node("MatMul", ["x", name], [name + ":y"], "/" + name[:-7].replace(".", "/") + "/MatMul") for name in weights]
    graph = helper.make_graph(
        nodes, "graph", [helper.make_tensor_value_info("x", real, ["n", HIDDEN])],
        [helper.make_tensor_value_info(name + ":y", real, ["n", HIDDEN]) for name in weights],
        [onnx.numpy_helper.from_array(numpy.ascontiguousarray(weight.T), name) for name, weight in weights.items()])
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), path)


def digest(path: Path) -> dict[str, str]:
    """What is at a path, temporary files left out: the digest of each file by its name; nothing for nothing."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files if PREFIX not in str(file)
    }


def leftovers(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob(PREFIX + "*")]


class Command:
    def __init__(self, name: str, arguments: list[str], target: str, partial: bool = False) -> None:
        self.name, self.arguments, self.target = name, arguments, target
        self.partial = partial  # a folder of many adapters, each of which is whole

    def start(self, folder: Path, loragen: str) -> "subprocess.Popen[bytes]":
        # A job that a shell put behind ignores SIGINT, and so would what it starts.
        return subprocess.Popen([loragen, *self.arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))

    def is_whole(self, found: dict[str, str], before: dict[str, str], after: dict[str, str]) -> bool:
        if self.partial:
            heads = {name.split("/")[0] for name in found}
            return all({name for name in after if name.startswith(head + "/")} <= set(found) for head in heads) and all(
                after.get(name) == found[name] for name in found)
        return found in (before, after)


def main() -> int:
    if len(sys.argv) not in (5, 6):
        print(__doc__, file=sys.stderr)
        return 64
    loragen, generator, corpus = (str(Path(argument).resolve()) for argument in sys.argv[1:4])
    bits, count = sys.argv[4], int(sys.argv[5]) if len(sys.argv) == 6 else 10
    work = Path(tempfile.mkdtemp(prefix="killed-"))
    make_model(work)
    flipped = ["".join("01"[(int(bit) + (index >> place & 1)) % 2] for place, bit in enumerate(bits)) for index in range(8)]
    (work / "tasks").write_text("\n".join(flipped))
    commands = [
        Command("convert to .npz", ["convert", "adapter", "out.npz"], "out.npz"),
        Command("convert to a folder", ["convert", "adapter", "out"], "out"),
        Command("convert to .onnx", ["convert", "adapter", "out.onnx"], "out.onnx"),
        Command("merge", ["merge", "model", "adapter", "-o", "merged"], "merged"),
        Command("merge a file", ["merge", "model/model.safetensors", "adapter", "-o", "m.safetensors"], "m.safetensors"),
        Command("merge into ONNX", ["merge", "model.onnx", "adapter", "-o", "m.onnx"], "m.onnx"),
        Command("apply", ["apply", "model.onnx", "adapter", "-o", "applied.onnx"], "applied.onnx"),
        Command("doctor's picture", ["doctor", corpus, "--picture", "corpus.svg"], "corpus.svg"),
        Command("generate", ["generate", generator, "--bits", bits, "-o", "made"], "made"),
        Command("generate in little memory",
                ["generate", generator, "--bits", bits, "--memory-limit", "512M", "-o", "s.safetensors"], "s.safetensors"),
        Command("generate many", ["generate", generator, "--bits-file", "tasks", "-o", "many"], "many", partial=True),
        Command("unpack", ["corpus", "unpack", corpus, "unpacked"], "unpacked"),
        Command("train", ["train", corpus, "g.safetensors", "--method", "ridge"], "g.safetensors"),
        Command("train with a checkpoint", ["train", corpus, "h.safetensors", "--method", "mlp", "--set", "steps=200",
                                            "--checkpoint", "state"], "h.safetensors"),
    ]
    failures: list[str] = []
    random.seed(1)

    def source_digests() -> "list[dict[str, str]]":
        return [digest(path) for path in (work / "model", work / "model.onnx", work / "adapter", Path(generator), Path(corpus))]

    for command in commands:
        sources = source_digests()
        times = []
        for _ in range(3):  # one alone may have met others at work, and most moments would come after the end
            target = work / command.target
            shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
            (work / "state").unlink(missing_ok=True)
            start = time.monotonic()
            status = command.start(work, loragen).wait()
            times.append(time.monotonic() - start)
        length = min(times)
        after = digest(work / command.target)
        if status != 0 or not after:
            failures.append(f"{command.name}: status {status} when left alone")
            continue
        left = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            for turn in range(count):
                target = work / command.target
                # Every other time over an old target, where a command may.
                if turn % 2 == 0 or command.name == "unpack":
                    shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
                (work / "state").unlink(missing_ok=True)
                before = digest(target)
                process = command.start(work, loragen)
                time.sleep(random.random() * length * 1.1)
                process.send_signal(number)
                status = process.wait(60)
                where = f"{command.name}, {number.name} {turn}, status {status}"
                if not command.is_whole(digest(target), before, after):
                    failures.append(f"{where}: {command.target} is torn")
                if number != signal.SIGKILL:
                    failures += [f"{where}: leaves {path}" for path in leftovers(work)]
                    if status not in (0, 128 + number, -number):
                        failures.append(f"{where}: expected 0 or {128 + number}")
                elif leftovers(work):
                    left += 1
                    shutil.rmtree(target) if target.is_dir() and command.name == "unpack" else None
                    command.start(work, loragen).wait()
                    failures += [f"{where}: the next run leaves {path}" for path in leftovers(work)]
                for path in leftovers(work):
                    shutil.rmtree(path) if Path(path).is_dir() else Path(path).unlink()
        if source_digests() != sources:
            failures.append(f"{command.name}: a source changed")
        print(f"ok    {command.name}: {3 * count} moments in {length:.2f} s, {left} times kill -9 left a file", flush=True)
    shutil.rmtree(work)
    for failure in failures:
        print("not so:", failure)
    return len(failures) > 0


if __name__ == "__main__":
    sys.exit(main())
