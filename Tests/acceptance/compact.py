"""Compact adapters in stock hosts: PEFT, ONNX Runtime and, where it is installed, llama.cpp, against the native forward.

compact.py LORAGEN: tiny models are made on the spot. A compact adapter is applied natively (loragen.tune), expanded, loaded
by hosts that know nothing of it, and logits are compared, at r = 8 and at full rank: 1e-5 of them in float32, 1e-3 in float16.
Merged weights, PEFT's PSOFT, gradients against finite differences in double, and the papers' initialisations, of which those
that do not preserve the function collapse at step 0.
"""
import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
import transformers
from peft import PeftModel
from transformers import AutoModelForCausalLM

from tiny import make_llama

LORAGEN = sys.argv[1]
HERE = Path(__file__).resolve().parent
os.environ.setdefault("LORAGEN_LIBRARY", str(Path(LORAGEN).resolve().parent.parent / "lib/libloragen.so.0"))
sys.path.insert(0, str(HERE.parents[1] / "bindings/python/src"))
import loragen  # noqa: E402
from loragen import tune  # noqa: E402

warnings.filterwarnings("ignore")
transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(2)
TOKENS = torch.tensor([[1, 5, 9, 33, 2, 70, 41]])  # as in llama.py
TARGETS = ["q_proj", "v_proj", "up_proj", "down_proj"]
failed = 0


def run(*words):
    done = subprocess.run([LORAGEN, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def check(name, value, limit, below=True):
    global failed
    good = value <= limit if below else value >= limit
    failed += not good
    print(f"{'ok  ' if good else 'FAIL'} {name}: {value:.3g} ({'<=' if below else '>='} {limit:g})")


def relative(a, b):
    return float((a - b).norm() / b.norm())


@torch.no_grad()
def logits(model):
    return model(TOKENS).logits[0].double()


def fresh(path):
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()


def hosts(folder, method, rank):
    name = f"{method}, {'full rank' if rank == 0 else f'r = {rank}'}"
    base, pack = folder / "llama", folder / f"{method}-{rank}.basis.safetensors"
    run("basis", base, "-o", pack, "--method", method, "--rank", rank, "--targets", ",".join(TARGETS))
    basis = loragen.Basis(pack)
    basis.check(base)
    model = fresh(base)
    before = logits(model)
    tuned = tune.CompactTuning(model, basis)
    check(f"{name}: step 0 is the base model", float((logits(model) - before).abs().max()), 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for index, delta in enumerate(tuned.deltas):
            sigma = torch.from_numpy(basis.factors(index)[1])
            noise = 0.3 if method == "svfit" else 0.02
            delta.copy_(noise * sigma * torch.randn(len(sigma), generator=generator))
    wanted = logits(model)
    check(f"{name}: the adapter matters", relative(wanted, before), 0.01, below=False)
    compact = folder / f"{method}-{rank}.compact.safetensors"
    tuned.save(compact)
    tuned.remove()
    check(f"{name}: off again", float((logits(model) - before).abs().max()), 0)
    for dtype, limit in (("float32", 1e-5), ("float16", 1e-3)):
        out = folder / f"{method}-{rank}-{dtype}"
        run("expand", compact, "--basis", pack, "-o", out, "--dtype", dtype)
        peft = PeftModel.from_pretrained(fresh(base), out)
        check(f"{name}: PEFT, {dtype}", relative(logits(peft), wanted), limit)
        config = json.loads((out / "adapter_config.json").read_text())
        assert config["peft_type"] == "LORA" and config["r"] == config["lora_alpha"], config
    run("merge", base, compact, "--basis", pack, "-o", folder / f"{method}-{rank}-merged")
    check(f"{name}: merged", relative(logits(fresh(folder / f"{method}-{rank}-merged")), wanted), 1e-5)
    run("project", folder / f"{method}-{rank}-float32", "--basis", pack, "-o", folder / "back.safetensors")
    ours, back = loragen.CompactAdapter(compact).deltas, loragen.CompactAdapter(folder / "back.safetensors").deltas
    check(f"{name}: projected back", float(np.linalg.norm(back - ours) / np.linalg.norm(ours)), 1e-4)
    if method == "svfit" and rank:
        run("expand", compact, "--basis", pack, "-o", folder / "psoft", "--psoft")
        check(f"{name}: PEFT, PSOFT", relative(logits(PeftModel.from_pretrained(fresh(base), folder / "psoft")), wanted), 5e-5)
    return wanted


def llama_cpp(folder, wanted):
    try:
        import llama
    except ImportError as error:
        print(f"skip llama.cpp: {error}")
        return
    base, out = folder / "llama.gguf", folder / "compact.gguf"
    llama.write_base(fresh(folder / "llama"), str(base), "llama", True)
    run("expand", folder / "svfit-8.compact.safetensors", "--basis", folder / "svfit-8.basis.safetensors", "-o", out,
        "--base", base)
    before = logits(fresh(folder / "llama"))
    check("llama.cpp: base", relative(torch.from_numpy(llama.host(str(base))), before), 1e-4)
    check("svfit, r = 8: llama.cpp", relative(torch.from_numpy(llama.host(str(base), str(out))), wanted), 1e-3)


def onnx_runtime(folder):
    import onnxruntime as ort

    ort.set_default_logger_severity(3)

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.q_proj = torch.nn.Linear(24, 40, bias=False)
            self.down_proj = torch.nn.Linear(40, 7)

        def forward(self, x):
            return self.down_proj(torch.tanh(self.q_proj(x)))

    from safetensors.torch import save_file

    torch.manual_seed(2)
    model = Model().eval()
    x = torch.randn(3, 24)
    save_file(model.state_dict(), folder / "small.safetensors")
    torch.onnx.export(model, (x,), str(folder / "small.onnx"), input_names=["x"], output_names=["y"], dynamo=False)
    basis = loragen.Basis.compute(folder / "small.safetensors", folder / "small.basis.safetensors", rank=5)
    tuned = tune.CompactTuning(model, basis)
    with torch.no_grad():
        for delta in tuned.deltas:
            delta.copy_(torch.randn_like(delta))
        wanted = model(x)
    tuned.save(folder / "small.compact.safetensors")
    run("expand", folder / "small.compact.safetensors", "--basis", folder / "small.basis.safetensors", "-o", folder / "small")
    for mode in ((), ("--inputs",)):
        run("apply", folder / "small.onnx", folder / "small", *mode, "-o", folder / "adapted.onnx")
        session = ort.InferenceSession(str(folder / "adapted.onnx"), providers=["CPUExecutionProvider"])
        options = ort.RunOptions()
        if mode:
            run("convert", folder / "small", folder / "small.onnx_adapter")
            adapter = ort.LoraAdapter()
            adapter.Load(str(folder / "small.onnx_adapter"))
            options.add_active_adapter(adapter)
        got = torch.from_numpy(session.run(None, {"x": x.numpy()}, options)[0])
        check(f"ONNX Runtime{' with inputs' if mode else ''}", relative(got, wanted), 1e-5)


def gradients():
    torch.manual_seed(3)
    for layer, shape, r in ((torch.nn.Linear(6, 9), (4, 6), 3), (torch.nn.Conv2d(2, 5, 3, padding=1), (1, 2, 4, 4), 3)):
        layer = layer.double()
        columns = layer.weight[0].numel()
        left, right = torch.randn(layer.weight.shape[0], r).double(), torch.randn(r, columns).double()
        delta = torch.nn.Parameter(torch.randn(r).double())
        direction = tune._Direction(layer, left, right, delta)
        x = torch.randn(*shape).double().requires_grad_()
        good = torch.autograd.gradcheck(lambda x, d: direction(layer, (x,), layer(x)), (x, delta))
        whole = torch.nn.functional.linear if layer.weight.dim() == 2 else torch.nn.functional.conv2d
        weight = layer.weight + ((left * delta) @ right).reshape(layer.weight.shape)
        with torch.no_grad():
            full = whole(x, weight, layer.bias, *([] if layer.weight.dim() == 2 else [1, 1]))
            error = relative(direction(layer, (x,), layer(x)), full)
        check(f"{type(layer).__name__}: gradients by finite differences", 0 if good else 1, 0)
        check(f"{type(layer).__name__}: W + left diag(delta) right", error, 1e-12)


def initialisations():
    """LoLDU's paper trains z in (W - L diag(z0) U) + L diag(z) U. Its code builds the residual from D where z is none of the
    modes that follow D, so the layer is destroyed before the first step: the ablation's two groups."""
    torch.manual_seed(4)
    w, r = torch.randn(64, 64).double(), 64
    p, l, u = torch.linalg.lu(w)
    d = u.diagonal()
    left, right = (p @ l)[:, :r], u[:r] / d[:, None]
    mean = d.mean()
    preserving = {"lu": d, "uniform": (torch.rand(r).double() - 0.5) * mean.abs(), "normal": mean + d.std() * torch.randn(r).double(),
                  "constant": mean.expand(r)}
    others = {"ones": torch.ones(r), "zeros": torch.zeros(r), "U(-1, 1)": 2 * torch.rand(r) - 1, "N(0, 1)": torch.randn(r)}
    for name, z in preserving.items():
        check(f"LoLDU from {name}: step 0", relative(w - (left * z) @ right + (left * z) @ right, w), 1e-12)
    for name, z in others.items():
        check(f"LoLDU from {name}: step 0 destroys the layer",
              relative(w - (left * d) @ right + (left * z.double()) @ right, w), 0.9, below=False)
    # The preserving ones are one problem: the same gradient in delta = z - z0, whatever z0.
    g = torch.randn(64, 64).double()
    by_z = torch.stack([torch.autograd.functional.jacobian(
        lambda z: ((w - (left * z0) @ right + (left * z) @ right) * g).sum(), z0.clone()) for z0 in preserving.values()])
    check("LoLDU: one gradient from every preserving start", float((by_z - by_z[0]).abs().max() / by_z.abs().max()), 1e-12)


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        make_llama(folder / "llama")
        first = None
        for method in ("svfit", "loldu"):
            for rank in (8, 0):
                wanted = hosts(folder, method, rank)
                first = wanted if first is None else first
        llama_cpp(folder, first)
        onnx_runtime(folder)
        gradients()
        initialisations()
    print("all passed" if not failed else f"{failed} FAILED")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
