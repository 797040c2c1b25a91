"""PEFT folders of VeRA, LoHa, LoKr and PSOFT on a small base model, and their updates as PEFT computes them.

Needs torch, peft 0.21.2 and safetensors.
"""
from pathlib import Path

import torch
from peft import LoHaConfig, LoKrConfig, PsoftConfig, VeraConfig, get_peft_model
from safetensors.torch import save_file
from torch import nn

here = Path(__file__).parent
torch.manual_seed(0)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(12, 8, bias=False)
        self.second = nn.Linear(8, 10, bias=False)
        self.conv = nn.Conv2d(4, 6, 3, bias=False)


base = Model().state_dict()
save_file(base, here / "base.safetensors")
reference = {}


def make(name, config, diagonal=True):
    model = Model()
    model.load_state_dict(base)
    model = get_peft_model(model, config)
    torch.manual_seed(7)
    for key, value in model.named_parameters():
        if value.requires_grad:
            value.data = torch.randn_like(value) * 0.5 + ("vector" in key)
            if diagonal and key.endswith("psoft_R.default.weight"):
                value.data.zero_()
    model.save_pretrained(here / name)
    (here / name / "README.md").unlink(missing_ok=True)
    for key, module in model.base_model.model.named_modules():
        if hasattr(module, "get_delta_weight"):
            reference[f"{name}.{key}"] = module.get_delta_weight("default").detach().double().contiguous()


linear = ["first", "second"]
layers = ["first", "second", "conv"]
make("vera", VeraConfig(r=3, target_modules=linear, projection_prng_key=1))
make("loha", LoHaConfig(
    r=2, alpha=3, target_modules=layers, use_effective_conv2d=True, rank_pattern={"second": 3}, alpha_pattern={"first": 5}))
make("lokr", LoKrConfig(r=1, alpha=3, target_modules=layers, use_effective_conv2d=True, decompose_both=True))
make("lokr-whole", LoKrConfig(r=64, alpha=32, target_modules=layers))
make("psoft", PsoftConfig(r=3, psoft_alpha=6, target_modules=linear, psoft_svd="full"))
make("psoft-turned", PsoftConfig(r=3, psoft_alpha=6, target_modules=linear, psoft_svd="full"), diagonal=False)
save_file(reference, here / "reference.safetensors")
