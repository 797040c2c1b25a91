"""A base model of a few small weights, and what PyTorch's SVD and LU say of them in double: the reference of BasisTests.

Needs torch and safetensors. Weights are random with a falling spectrum; one is stored in bfloat16, one is a convolution, one is
GPT-2's Conv1D, which keeps its weight transposed.
"""
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

here = Path(__file__).parent
torch.manual_seed(0)


def weight(rows, columns):
    u, v = (torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))[0] for n in (rows, columns))
    k = min(rows, columns)
    sigma = 3 * torch.arange(1, k + 1, dtype=torch.float64) ** -0.5
    return (u[:, :k] * sigma) @ v[:, :k].T


base = {
    "model.layers.0.self_attn.q_proj": weight(24, 16).to(torch.bfloat16),
    "model.layers.0.mlp.up_proj": weight(20, 28).float(),
    "model.layers.1.self_attn.q_proj": weight(16, 16).half(),
    "model.conv": weight(12, 18).float().reshape(12, 2, 3, 3),
    "h.0.attn.c_attn": weight(16, 40).float(),
}
shards = [list(base)[:2], list(base)[2:]]
index = {}
(here / "base").mkdir(exist_ok=True)
for i, names in enumerate(shards):
    file = f"model-0000{i + 1}-of-00002.safetensors"
    save_file({n + ".weight": base[n] for n in names} | {f"norm.{i}.weight": torch.ones(4)}, here / "base" / file)
    index |= {n + ".weight": file for n in names} | {f"norm.{i}.weight": file}
(here / "base/model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))

reference = {}
for name, stored in base.items():
    w = stored.double().reshape(stored.shape[0], -1)
    if name.endswith("c_attn"):
        w = w.T
    u, s, vh = torch.linalg.svd(w, full_matrices=False)
    p, l, upper = torch.linalg.lu(w)
    d = upper.diagonal()
    reference |= {
        name + ".w": w, name + ".s": s, name + ".u": u, name + ".vh": vh, name + ".d": d, name + ".pl": p @ l,
        name + ".lu": upper[: len(d)] / d[:, None], name + ".pivots": p.argmax(0)[: len(d)].int(),
    }
save_file({k: v.contiguous() for k, v in reference.items()}, here / "reference.safetensors")
