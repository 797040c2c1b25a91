"""From process start to an adapter on disk, as a Python script does it with PyTorch: first_adapter.py GENERATOR BITS OUT

Reads a generator of the preset "default" of cond-pdiff and does what `loragen generate` does with it: 20 steps of
DPM-Solver++, the principal components, singular values of each module's update, a PEFT folder. Its noise is PyTorch's.
"""

import json
import math
import os
import sys

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file

path, bits, out = sys.argv[1:4]
torch.set_num_threads(int(os.environ.get("BENCH_THREADS", os.cpu_count())))
torch.manual_seed(0)
with safe_open(path, "pt") as file:
    about = json.loads(file.metadata()["generator"])
    w = {name: file.get_tensor(name) for name in file.keys() if not name.startswith("training.")}
settings, layout = about["settings"], about["layout"]
settings = json.loads(settings) if isinstance(settings, str) else settings
layout = json.loads(layout) if isinstance(layout, str) else layout


def linear(x, name):
    return F.linear(x, w[f"model.denoiser.{name}.weight"], w[f"model.denoiser.{name}.bias"])


def denoise(x, t, condition):
    angles = t * torch.exp(-math.log(10000) * torch.arange(32, dtype=torch.float64) / 32)
    time = torch.cat([angles.sin(), angles.cos()])[None].float()
    time = linear(F.silu(linear(time, "time.0")), "time.1")
    known = linear(F.silu(linear(condition, "condition.0")), "condition.1")
    h, context = linear(x, "input") + time + known, F.silu(time + known)
    for i in range(settings["blocks"]):
        scale, shift = linear(context, f"blocks.{i}.modulation").chunk(2, 1)
        hidden = F.silu(linear(F.layer_norm(h, h.shape[1:]) * (scale + 1) + shift, f"blocks.{i}.up"))
        h = h + linear(hidden, f"blocks.{i}.down")
    return linear(h, "output")


with torch.inference_mode():
    condition = torch.tensor([[float(b) for b in bits]])
    condition = (condition - w["condition.shift"]) / w["condition.scale"]
    count = settings["timesteps"]
    bar = torch.cumprod(1 - (1e-4 + (0.02 - 1e-4) * torch.arange(count, dtype=torch.float64) / (count - 1)), 0)
    signal, noise = bar.sqrt().tolist(), (1 - bar).sqrt().tolist()
    ratio = [math.log(s / n) for s, n in zip(signal, noise)]
    times, t, steps = [], count - 1, settings["samplingSteps"]
    for i in range(steps):
        target = ratio[-1] + (ratio[0] - ratio[-1]) * i / (steps - 1)
        while t > 0 and ratio[t] < target - 1e-12:
            t -= 1
        if not times or times[-1] != t:
            times.append(t)
    times += [0] if times[-1] else []
    x, older = torch.randn(1, settings["latents"]), None
    for i, t in enumerate(times):
        clean = denoise(x, t, condition)
        if i + 1 == len(times):
            break
        step, estimate = ratio[times[i + 1]] - ratio[t], clean
        if older is not None:
            r = older[1] / step
            estimate = clean * (1 + 1 / (2 * r)) - older[0] / (2 * r)
        following = times[i + 1]
        x = x * (noise[following] / noise[t]) - estimate * (signal[following] * math.expm1(-step))
        older = clean, step
    vector = (clean / w["model.latent_scale"]) @ w["model.autoencoder.components"]
    vector = (vector * w["normaliser.scale"] + w["normaliser.shift"])[0]
    tensors, at = {}, 0
    for i, module in enumerate(layout["modules"]):
        u, v = w[f"frames.{i}.u"], w[f"frames.{i}.v"]
        core = vector[at:at + u.shape[1] * v.shape[1]].reshape(u.shape[1], v.shape[1])
        at += core.numel()
        left, sigma, right = torch.linalg.svd(core, full_matrices=False)
        rank = module["rank"]
        b, a = u @ left[:, :rank], right[:rank] @ v.T
        top = b.gather(0, b.abs().argmax(0, keepdim=True))
        factor = torch.where(top < 0, -1.0, 1.0) * sigma[:rank].sqrt()
        name = f"base_model.model.{module['name']}"
        tensors[f"{name}.lora_A.weight"] = (a * factor.T).contiguous()
        tensors[f"{name}.lora_B.weight"] = (b * factor).contiguous()
os.makedirs(out, exist_ok=True)
save_file(tensors, f"{out}/adapter_model.safetensors", metadata={"format": "pt"})
rank = layout["modules"][0]["rank"]
with open(f"{out}/adapter_config.json", "w") as file:
    json.dump({"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": layout["target_modules"],
               "base_model_name_or_path": layout["base_model"]}, file)
