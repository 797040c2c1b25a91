"""Makes the golden files of this folder with the reference implementations.

    python make.py        # safetensors 0.8.0, torch 2.13, peft 0.21.2, transformers 5.23

The files are committed; the tests of AdaptersTests compare with them and need no Python.
"""
import ctypes
import pathlib
import shutil

import safetensors
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers.pytorch_utils import Conv1D

here = pathlib.Path(__file__).resolve().parent


def raw(count):
    return bytes((7 * i + 3) % 256 for i in range(count))


def reference_writer():
    # name: (dtype, shape, bytes an element); the order given is not the order written.
    tensors = {
        "b.weight": ("float32", [3, 5], 4),
        "a.weight": ("float32", [2], 4),
        "scalar": ("float64", [], 8),
        "empty": ("float16", [0, 4], 2),
        "codes": ("int8", [7], 1),
        "brain": ("bfloat16", [3], 2),
        "steps": ("int64", [2, 1], 8),
        "flags": ("bool", [5], 1),
        'quote " slash \\ tab \t': ("uint8", [1], 1),
        "grüße/日本": ("int16", [3], 2),
    }
    entries, buffers = {}, {}
    for name, (dtype, shape, width) in tensors.items():
        count = 1
        for d in shape:
            count *= d
        buffers[name] = ctypes.create_string_buffer(raw(count * width), max(count * width, 1))
        entries[name] = safetensors.TensorSpec(
            dtype=dtype, shape=shape, data_ptr=ctypes.addressof(buffers[name]), data_len=count * width)
    image = safetensors.serialize(entries, metadata={"format": "pt"})
    (here / "reference.safetensors").write_bytes(bytes(image))
    (here / "reference-no-metadata.safetensors").write_bytes(
        bytes(safetensors.serialize(entries, metadata=None)))


class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList(
            torch.nn.ModuleDict({"q_proj": torch.nn.Linear(6, 8, bias=False), "v_proj": torch.nn.Linear(6, 4)})
            for _ in range(12))
        self.config = {"model_type": "custom"}

    def forward(self, x):
        return x


def folder(name, dtype=torch.float32, **options):
    torch.manual_seed(0)
    base = Tiny()
    config = LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False, **options)
    config.base_model_name_or_path = "tiny"
    model = get_peft_model(base, config, autocast_adapter_dtype=False)
    if dtype != torch.float32:
        for n, p in model.named_parameters():
            if "lora_" in n:
                p.data = p.data.to(dtype)
    target = here / name
    shutil.rmtree(target, ignore_errors=True)
    model.save_pretrained(target)
    (target / "README.md").unlink(missing_ok=True)
    deltas = {}
    for n, module in model.base_model.model.named_modules():
        if hasattr(module, "get_delta_weight"):
            a, b = module.lora_A["default"].weight.double(), module.lora_B["default"].weight.double()
            deltas[n] = (module.scaling["default"] * b @ a).float().detach().contiguous()
    save_file(deltas, here / name / "delta.safetensors")


class Kinds(torch.nn.Module):
    """One module of every kind that PEFT adapts, in a layer each so that names are as in real models."""

    def __init__(self, grouped):
        super().__init__()
        layer = {
            "table": torch.nn.Embedding(11, 6), "linear": torch.nn.Linear(6, 8),
            "conv1": torch.nn.Conv1d(4, 6, 3), "conv2": torch.nn.Conv2d(4, 6, (3, 2)),
            "point": torch.nn.Conv2d(4, 6, 1), "conv3": torch.nn.Conv3d(2, 4, (2, 3, 1)),
        }
        if grouped:
            layer["grouped"] = torch.nn.Conv2d(4, 6, 3, groups=2)
        self.layers = torch.nn.ModuleList([torch.nn.ModuleDict(layer)])
        self.config = {"model_type": "custom"}

    def forward(self, x):
        return x


class Transposed(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.h = torch.nn.ModuleList(torch.nn.ModuleDict({"c_attn": Conv1D(15, 5)}) for _ in range(2))
        self.config = {"model_type": "custom"}

    def forward(self, x):
        return x


def kinds(name, base, **options):
    """An adapter of other layers than Linear, with PEFT's own get_delta_weight."""
    torch.manual_seed(2)
    targets = sorted({n.split(".")[-1] for n, m in base.named_modules() if hasattr(m, "weight")})
    config = LoraConfig(target_modules=targets, init_lora_weights=False, **options)
    config.base_model_name_or_path = "tiny"
    model = get_peft_model(base, config, autocast_adapter_dtype=False)
    for n, p in model.named_parameters():
        if "magnitude" in n:
            p.data = torch.rand_like(p) + 0.5
    target = here / name
    shutil.rmtree(target, ignore_errors=True)
    model.save_pretrained(target)
    (target / "README.md").unlink(missing_ok=True)
    deltas = {}
    for n, module in model.base_model.model.named_modules():
        if not hasattr(module, "get_delta_weight"):
            continue
        if getattr(module.get_base_layer(), "groups", 1) == 1:
            delta = module.get_delta_weight("default")
        else:  # PEFT cannot merge these; what its forward computes, as one kernel over all channels.
            a, b = module.lora_A["default"], module.lora_B["default"]
            x = torch.eye(4 * 9).reshape(36, 4, 3, 3)
            delta = (b(a(x)) * module.scaling["default"]).reshape(36, -1).T.reshape(-1, 4, 3, 3)
        deltas[n] = delta.float().detach().contiguous()
    save_file(deltas, target / "delta.safetensors")


class Experts(torch.nn.Module):
    """As the experts of mixtures in transformers 5: one parameter for all, [experts, out, in]."""

    def __init__(self):
        super().__init__()
        self.gate_up_proj = torch.nn.Parameter(torch.randn(3, 10, 4))
        self.down_proj = torch.nn.Parameter(torch.randn(3, 4, 5))


class Mixture(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList(
            torch.nn.ModuleDict({"mlp": torch.nn.ModuleDict({"experts": Experts()}), "q_proj": torch.nn.Linear(4, 4)})
            for _ in range(2))
        self.config = {"model_type": "custom"}

    def forward(self, x):
        return x


def experts():
    """Fused experts, and the update of each one's projection."""
    torch.manual_seed(3)
    config = LoraConfig(
        target_modules=["q_proj"], target_parameters=["mlp.experts.down_proj", "mlp.experts.gate_up_proj"],
        init_lora_weights=False, r=2, lora_alpha=6)
    model = get_peft_model(Mixture(), config, autocast_adapter_dtype=False)
    target = here / "peft-experts"
    shutil.rmtree(target, ignore_errors=True)
    model.save_pretrained(target)
    (target / "README.md").unlink(missing_ok=True)
    deltas = {}
    for n, module in model.base_model.model.named_modules():
        if not hasattr(module, "get_delta_weight"):
            continue
        delta = module.get_delta_weight("default").float().detach()
        n = n.replace(".base_layer", "")
        if not hasattr(module, "parameter_name"):
            deltas[n] = delta
        for e in range(3 if hasattr(module, "parameter_name") else 0):
            if module.parameter_name == "down_proj":
                deltas[f"{n}.{e}.down_proj"] = delta[e].contiguous()
            else:
                deltas[f"{n}.{e}.gate_proj"] = delta[e, :5].contiguous()
                deltas[f"{n}.{e}.up_proj"] = delta[e, 5:].contiguous()
    save_file(deltas, target / "delta.safetensors")


def special_floats():
    """float32 bit patterns with what torch makes of them as float16 and bfloat16."""
    torch.manual_seed(1)
    bits = torch.randint(-2**31, 2**31 - 1, (4096,), dtype=torch.int64).to(torch.int32)
    near = (torch.randn(4096) * torch.tensor(10.0) ** torch.randint(-9, 6, (4096,))).view(torch.int32)
    x = torch.cat([bits, near]).view(torch.float32)
    x = x[~x.isnan()].contiguous()
    save_file({"x": x, "half": x.half(), "brain": x.bfloat16()}, here / "halves.safetensors")


reference_writer()
folder("peft-f32", r=2, lora_alpha=3)
folder("peft-bf16", dtype=torch.bfloat16, r=2, lora_alpha=4)
folder("peft-f64", dtype=torch.float64, r=2, lora_alpha=2)
folder("peft-patterns", r=3, lora_alpha=4, use_rslora=True,
       rank_pattern={"layers.1.q_proj": 2, "v_proj": 1}, alpha_pattern={"^layers.11.v_proj": 7, "layers.3.q_proj": 5})
kinds("peft-kinds", Kinds(grouped=True), r=4, lora_alpha=6, rank_pattern={"conv2": 2}, alpha_pattern={"table": 3})
kinds("peft-dora", Kinds(grouped=False), r=2, lora_alpha=6, use_dora=True)
experts()
kinds("peft-gpt2", Transposed(), r=3, lora_alpha=4, use_rslora=True, fan_in_fan_out=True)
special_floats()
