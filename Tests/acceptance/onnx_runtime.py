"""ONNX Runtime and the ONNX checker against PyTorch: .onnx_adapter files, adapters put into models, merged and taken out.

onnx_runtime.py LORAGEN: models of both PyTorch exporters are made on the spot, float32 and float16, with the weights inside and as
external data. Passes when every result agrees, removal gives the bytes from before, and a wrong adapter is refused.
"""
import hashlib
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from peft import LoraConfig, get_peft_model
from safetensors.numpy import load_file, save_file

warnings.filterwarnings("ignore")
torch.set_num_threads(2)
LORAGEN = sys.argv[1]
ort.set_default_logger_severity(3)


class Block(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.q_proj = torch.nn.Linear(width, width, bias=False)
        self.up_proj = torch.nn.Linear(width, 3 * width)
        self.down_proj = torch.nn.Linear(3 * width, width)

    def forward(self, x):
        return x + self.down_proj(torch.tanh(self.up_proj(self.q_proj(x))))


class Model(torch.nn.Module):
    def __init__(self, width=24):
        super().__init__()
        self.layers = torch.nn.ModuleList([Block(width), Block(width)])
        self.head = torch.nn.Linear(width, 7)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.head(x[:, -1])


class Picture(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(16, 8)
        self.conv = torch.nn.Conv2d(1, 6, 3, padding=1)
        self.head = torch.nn.Linear(6, 5)

    def forward(self, x):
        return self.head(self.conv(self.table(x)[:, None]).mean((2, 3)))


def loragen(*arguments, fails=False):
    result = subprocess.run([LORAGEN, *map(str, arguments)], capture_output=True, text=True)
    assert (result.returncode != 0) == fails, (arguments, result.stdout, result.stderr)
    return result.stdout + result.stderr


def adapted(model, path, targets, seed, **options):
    torch.manual_seed(seed)
    peft = get_peft_model(model, LoraConfig(r=4, lora_alpha=6, target_modules=targets, **options))
    with torch.no_grad():
        for name, parameter in peft.named_parameters():
            if "lora_" in name and "magnitude" not in name:
                parameter.copy_(torch.randn_like(parameter) * 0.2)
    peft.save_pretrained(path)
    return peft


def run(path, x, adapter=None):
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    options = ort.RunOptions()
    if adapter:
        loaded = ort.LoraAdapter()
        loaded.Load(str(adapter))
        options.add_active_adapter(loaded)
    return session.run(None, {session.get_inputs()[0].name: x}, options)[0]


def check(name, value, limit, below=True):
    good = bool(value < limit if below else value > limit)
    print(f"{'ok  ' if good else 'FAIL'} {name}: {value:.3g} ({'<' if below else '>'} {limit:g})")
    check.failed += not good


check.failed = 0


def same(a, b):
    return hashlib.sha256(Path(a).read_bytes()).digest() == hashlib.sha256(Path(b).read_bytes()).digest()


def difference(a, b):
    return np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).max()


def export(model, x, path, dynamo, external):
    torch.onnx.export(model, (x,), str(path), dynamo=dynamo, opset_version=18 if dynamo else 17, external_data=False,
                      verbose=False)
    if external:
        loaded = onnx.load(path)
        path.unlink()
        onnx.save_model(loaded, path, save_as_external_data=True, location=path.name + ".data", size_threshold=0)


def main():
    print(f"onnxruntime {ort.__version__}, onnx {onnx.__version__}, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        targets = ["q_proj", "up_proj", "down_proj", "head"]
        for dynamo in (False, True):
            for half in (False, True):
                for external in (False, True):
                    torch.manual_seed(1)
                    model = Model().eval()
                    if half:
                        model = model.half()
                    what = f"{'dynamo' if dynamo else 'torchscript'} {'f16' if half else 'f32'}" \
                           f"{' external' if external else ''}"
                    place = folder / what.replace(" ", "-")
                    place.mkdir()
                    x = torch.randn(3, 5, 24, dtype=torch.float16 if half else torch.float32)
                    with torch.no_grad():
                        plain = model(x).numpy()
                    export(model, x, place / "model.onnx", dynamo, external)
                    base = run(place / "model.onnx", x.numpy())
                    limit = 2e-2 if half else 1e-5
                    check(f"{what}: base", difference(base, plain), limit)
                    peft = adapted(model, place / "a", targets, 2)
                    with torch.no_grad():
                        first = peft.eval()(x).numpy()
                    model = peft.unload()
                    peft = adapted(model, place / "b", targets, 3)
                    with torch.no_grad():
                        second = peft.eval()(x).numpy()
                    model = peft.unload()
                    check(f"{what}: the adapter matters", difference(first, plain), 0.1, below=False)
                    dtype = ["--dtype", "float16"] if half else []
                    for name in "ab":
                        loragen("convert", place / name, place / f"{name}.onnx_adapter", *dtype)
                    loragen("apply", place / "model.onnx", place / "a", "-o", place / "injected.onnx")
                    check(f"{what}: injected", difference(run(place / "injected.onnx", x.numpy()), first), limit)
                    loragen("apply", place / "injected.onnx", "--undo", "-o", place / "back.onnx")
                    check(f"{what}: taken out, same bytes", not same(place / "back.onnx", place / "model.onnx"), 1)
                    loragen("apply", place / "model.onnx", place / "a", "--inputs", "-o", place / "swap.onnx")
                    swap = place / "swap.onnx"
                    check(f"{what}: swappable, no adapter", difference(run(swap, x.numpy()), base), limit)
                    check(f"{what}: swappable, first", difference(run(swap, x.numpy(), place / "a.onnx_adapter"), first),
                          limit)
                    check(f"{what}: swappable, second",
                          difference(run(swap, x.numpy(), place / "b.onnx_adapter"), second), limit)
                    loragen("apply", swap, "--undo", "-o", place / "back.onnx")
                    check(f"{what}: inputs taken out, same bytes", not same(place / "back.onnx", place / "model.onnx"), 1)
                    merged = place / "merged"
                    merged.mkdir()
                    loragen("merge", place / "model.onnx", place / "a", "-o", merged / "model.onnx")
                    check(f"{what}: merged", difference(run(merged / "model.onnx", x.numpy()), first), limit)
                    undone = place / "undone"
                    undone.mkdir()
                    loragen("merge", merged / "model.onnx", place / "a", "--undo", "-o", undone / "model.onnx")
                    check(f"{what}: merged and undone", difference(run(undone / "model.onnx", x.numpy()), base), limit)
                    for path in (place / "injected.onnx", swap, merged / "model.onnx"):
                        onnx.checker.check_model(str(path), full_check=True)
            # Embeddings, convolutions and DoRA are merged.
            torch.manual_seed(5)
            place = folder / f"picture-{dynamo}"
            place.mkdir()
            model = Picture().eval()
            x = torch.randint(0, 16, (2, 9))
            export(model, x, place / "model.onnx", dynamo, False)
            for dora in (False, True):
                peft = adapted(model, place / "a", ["table", "conv", "head"], 6, use_dora=dora)
                with torch.no_grad():
                    wanted = peft.eval()(x).numpy()
                loragen("merge", place / "model.onnx", place / "a", "-o", place / "merged.onnx")
                check(f"picture, {'dynamo' if dynamo else 'torchscript'}{', DoRA' if dora else ''}: merged",
                      difference(run(place / "merged.onnx", x.numpy()), wanted), 1e-5)
                model = peft.unload()
        formats(folder)
    return check.failed


def formats(folder):
    """.onnx_adapter and .npz as ONNX Runtime and NumPy read them, and back."""
    place = folder / "torchscript-f32"
    arrays = load_file(place / "a" / "adapter_model.safetensors")
    scale = 6 / 4
    for names in ([], ["--peft-names"]):
        loragen("convert", place / "a", folder / "n.onnx_adapter", *names)
        read = ort.AdapterFormat.read_adapter(str(folder / "n.onnx_adapter")).get_parameters()
        worst = 0
        for key, value in arrays.items():
            wanted = value * (scale if "lora_B" in key else 1)
            found = read[key if names else key.removeprefix("base_model.model.")].numpy()
            worst = max(worst, difference(found if names else found.T, wanted))
        check(f".onnx_adapter {'PEFT' if names else 'Olive'} names", worst, 1e-6)
        assert len(read) == len(arrays)
        loragen("convert", folder / "n.onnx_adapter", folder / "n.safetensors")
        found = load_file(folder / "n.safetensors")
        check("  and back", max(difference(found[k], v * (scale if "lora_B" in k else 1)) for k, v in arrays.items()), 1e-6)
    # ONNX Runtime's own writer.
    theirs = ort.AdapterFormat()
    theirs.set_adapter_version(1)
    theirs.set_model_version(1)
    values = {k: ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(v)) for k, v in arrays.items()}
    theirs.set_parameters(values)
    theirs.export_adapter(str(folder / "theirs.onnx_adapter"))
    loragen("convert", folder / "theirs.onnx_adapter", folder / "theirs.safetensors")
    found = load_file(folder / "theirs.safetensors")
    check("ONNX Runtime's own .onnx_adapter", max(difference(found[k], v) for k, v in arrays.items()), 1e-9)
    loragen("convert", place / "a", folder / "a.npz", "--keep-alpha")
    with np.load(folder / "a.npz") as npz:
        check(".npz", max(difference(npz[k], v) for k, v in arrays.items()), 1e-9)
        changed = {k: npz[k] for k in npz.files}
    np.savez(folder / "again.npz", **changed)
    loragen("convert", folder / "again.npz", folder / "again", "--keep-alpha")
    found = load_file(folder / "again" / "adapter_model.safetensors")
    check(".npz that NumPy saved", max(difference(found[k], v) for k, v in arrays.items()), 1e-9)
    loragen("convert", place / "a", folder / "b.npz", "--dtype", "bfloat16", fails=True)
    np.savez_compressed(folder / "small.npz", **changed)
    assert "savez" in loragen("convert", folder / "small.npz", folder / "x", fails=True)
    eight_bits(folder)


def eight_bits(folder):
    """An adapter beside a weight that DequantizeLinear unpacks. Unoptimised: ONNX Runtime rounds the input too where it
    fuses the two."""
    random = np.random.default_rng(0)
    inputs, outputs, name = 64, 48, "model.layers.0.mlp.up_proj"
    weight = random.integers(-127, 128, (inputs, outputs)).astype(np.int8)
    scales = (random.random(outputs) * 0.01 + 0.001).astype(np.float32)
    floats = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("DequantizeLinear", ["weight", "scales"], ["unpacked"], axis=1),
         onnx.helper.make_node("MatMul", ["x", "unpacked"], ["y"], name="/model/layers.0/mlp/up_proj/MatMul")], "eight",
        [onnx.helper.make_tensor_value_info("x", floats, [None, inputs])],
        [onnx.helper.make_tensor_value_info("y", floats, [None, outputs])],
        [onnx.numpy_helper.from_array(weight, "weight"), onnx.numpy_helper.from_array(scales, "scales")])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8),
              str(folder / "eight.onnx"))
    a, b = (random.normal(size=shape).astype(np.float32) * 0.2 for shape in ((4, inputs), (outputs, 4)))
    (folder / "eight").mkdir()
    save_file({f"base_model.model.{name}.lora_A.weight": a, f"base_model.model.{name}.lora_B.weight": b},
              folder / "eight" / "adapter_model.safetensors")
    (folder / "eight" / "adapter_config.json").write_text(
        '{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["up_proj"]}')
    loragen("apply", folder / "eight.onnx", folder / "eight", "-o", folder / "eight-with.onnx")
    x = random.normal(size=(5, inputs)).astype(np.float32)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    y = ort.InferenceSession(str(folder / "eight-with.onnx"), options).run(None, {"x": x})[0]
    check("8-bit weight and an adapter", difference(y, x @ (weight * scales) + 2 * (x @ a.T) @ b.T), 1e-5)
    loragen("apply", folder / "eight-with.onnx", "--undo", "-o", folder / "eight-back.onnx")
    assert (folder / "eight-back.onnx").read_bytes() == (folder / "eight.onnx").read_bytes()


if __name__ == "__main__":
    sys.exit(main())
