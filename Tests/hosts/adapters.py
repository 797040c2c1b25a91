"""Adapter files against the programs that users load them with: PEFT, safetensors, onnx, ONNX Runtime.

    python Tests/hosts/adapters.py

PEFT saves adapters of tiny models; our reader reads them and writes them in every form (by `swift test --filter
hostSamples`); PEFT and ONNX Runtime load the results, and the products scale·B·A must agree. Needs torch, peft,
transformers, safetensors, onnx and onnxruntime; checked with 2.13, 0.21.2, 5.23, 0.8.0, 1.23.2 and 1.31.1.
"""
import ctypes
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings

repo = pathlib.Path(__file__).resolve().parents[2]


def models():
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, ViTConfig, ViTForImageClassification

    def llama():
        torch.manual_seed(0)
        return LlamaForCausalLM(LlamaConfig(
            vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=11, num_attention_heads=2,
            num_key_value_heads=1, max_position_embeddings=32))

    def vit():
        torch.manual_seed(0)
        return ViTForImageClassification(ViTConfig(
            hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32, image_size=8,
            patch_size=4, num_labels=3))

    return {
        "llama": (llama, dict(target_modules=["q_proj", "v_proj", "down_proj"], r=4, lora_alpha=8,
                              task_type="CAUSAL_LM")),
        "llama-rslora": (llama, dict(target_modules=["q_proj", "o_proj"], r=4, lora_alpha=7.5, use_rslora=True)),
        "llama-patterns": (llama, dict(
            target_modules=["q_proj", "v_proj"], r=4, lora_alpha=8, rank_pattern={"layers.1.self_attn.q_proj": 2,
                                                                                   "v_proj": 3},
            alpha_pattern={"^model.layers.10.self_attn.v_proj": 5, "layers.0.self_attn.q_proj": 3})),
        "llama-layers": (llama, dict(target_modules=["q_proj"], r=2, lora_alpha=2, layers_to_transform=[1, 4, 10])),
        "llama-all": (llama, dict(target_modules="all-linear", r=2, lora_alpha=4)),
        "vit": (vit, dict(target_modules=["q_proj", "v_proj", "query", "value", "fc1", "o_proj"], r=3, lora_alpha=6)),
    }


def deltas(model):
    """The update of every adapted module, in double."""
    found = {}
    for name, module in model.base_model.model.named_modules():
        if hasattr(module, "lora_A") and "default" in module.lora_A:
            a, b = (getattr(module, k)["default"].weight.double() for k in ("lora_A", "lora_B"))
            found[name] = (module.scaling["default"] * b @ a).detach()
    return found


def error(a, b):
    return ((a - b).norm() / b.norm()).item()


def run(samples):
    import numpy
    import onnx
    import onnxruntime
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from safetensors import safe_open

    expected, made = {}, models()
    for name, (make, options) in made.items():
        config = LoraConfig(init_lora_weights=False, **options)
        model = get_peft_model(make(), config)
        model.save_pretrained(samples / "in" / name)
        expected[name] = deltas(model)
    (samples / "out").mkdir()
    subprocess.run(["swift", "test", "--filter", "hostSamples"] + sys.argv[1:], cwd=repo, check=True,
                   env=dict(os.environ, LORAGEN_HOST_SAMPLES=str(samples)), stdout=subprocess.DEVNULL)
    limit = {"F32": 1e-6, "F16": 1e-3, "BF16": 8e-3}
    worst = dict.fromkeys(limit, 0.0)
    count = 0
    for folder in sorted((samples / "out").iterdir()):
        if not folder.is_dir():
            continue
        name, form, dtype, scaling = folder.name.split("+")
        truth = expected[name]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            warnings.filterwarnings("error", category=UserWarning)  # missing keys are only a warning
            model = PeftModel.from_pretrained(made[name][0](), folder)
        loaded = deltas(model)
        assert loaded.keys() == truth.keys(), (folder.name, loaded.keys() ^ truth.keys())
        for key, value in truth.items():
            worst[dtype] = max(worst[dtype], error(loaded[key], value))
            assert error(loaded[key], value) < limit[dtype], (folder.name, key, error(loaded[key], value))
        if scaling == "kept" and form == "as-read" and dtype == "F32":
            for key in truth:  # not a bit changes
                assert error(loaded[key], truth[key]) == 0, (folder.name, key)
        files = {}
        for path in (folder / "adapter_model.safetensors", folder.with_name(folder.name + ".safetensors")):
            with safe_open(path, "pt") as file:
                assert file.metadata()["format"] == "pt"
                files[path] = {key: file.get_tensor(key) for key in file.keys()}
        first, second = files.values()
        assert first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)
        path = str(folder) + ".onnx"
        onnx.checker.check_model(path, full_check=True)
        model = onnx.load(path)
        assert (model.ir_version, model.opset_import[0].version) == (8, 17)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        names = [o.name for o in session.get_outputs()]
        assert sorted(names) == sorted(k + ":out" for k in first)
        if dtype == "BF16":  # NumPy has no such type
            values = {t.name: torch.frombuffer(bytearray(t.raw_data), dtype=torch.bfloat16).reshape(*t.dims)
                      for t in model.graph.initializer}
        else:
            values = dict(zip((n[:-4] for n in names), map(torch.from_numpy, session.run(None, {}))))
        assert all(torch.equal(values[k], first[k]) for k in first)
        count += 1
    print(f"{count} adapters: PEFT, safetensors, onnx and ONNX Runtime agree; worst relative error of a product "
          + ", ".join(f"{k} {v:.1e}" for k, v in worst.items()))
    return next((samples / "out").glob("*F32*.onnx"))


ORDER = """
import ctypes, os, sys
def ours():
    library = ctypes.CDLL(sys.argv[2], os.RTLD_NOW | os.RTLD_LOCAL | os.RTLD_DEEPBIND)
    data = open(sys.argv[3], "rb").read()
    model, message = ctypes.c_void_p(), ctypes.create_string_buffer(1000)
    library.lgo_tensor_count.restype = ctypes.c_size_t
    library.lgo_tensor_count.argtypes = library.lgo_close.argtypes = [ctypes.c_void_p]
    def open_(data):
        return library.lgo_open(data, ctypes.c_size_t(len(data)), ctypes.byref(model), message, ctypes.c_size_t(1000))
    assert open_(data) == 0, message.value
    assert library.lgo_tensor_count(model) > 0
    library.lgo_close(model)
    assert open_(data[:-9]) == -1 and message.value  # an exception was caught inside
def theirs():
    import onnx, onnxruntime
    onnx.checker.check_model(sys.argv[3], full_check=True)
    onnxruntime.InferenceSession(sys.argv[3], providers=["CPUExecutionProvider"]).run(None, {})
for who in {"ours-first": (ours, theirs, ours), "theirs-first": (theirs, ours, theirs)}[sys.argv[1]]:
    who()
"""


def order(model, library):
    for first in ("ours-first", "theirs-first"):
        done = subprocess.run([sys.executable, "-c", ORDER, first, str(library), str(model)], capture_output=True,
                              text=True)
        assert done.returncode == 0 and not done.stderr, (first, done)
    print("libloragen_onnx, onnx and onnxruntime share a process in either order, and nothing is printed")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        samples = pathlib.Path(folder)
        model = run(samples)
        order(model, repo / ".build" / "debug" / "libloragen_onnx.so")
