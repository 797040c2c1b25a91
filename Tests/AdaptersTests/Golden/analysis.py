"""Makes Golden/analysis: adapters and what NumPy and SciPy measure on their products, formed in full.

    python3 analysis.py            (numpy 2.4.6, scipy 1.18, safetensors 0.8.0)
"""

import json
import os

import numpy
import scipy.linalg
from safetensors.numpy import save_file

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "analysis")
random = numpy.random.default_rng(7)


def factors(outputs, inputs, rank, scale=1.0):
    return [(scale * random.standard_normal(shape)).astype(numpy.float32) for shape in ((rank, inputs), (outputs, rank))]


def write(name, rank, alpha, modules):
    folder = os.path.join(HERE, name)
    os.makedirs(folder, exist_ok=True)
    tensors = {}
    for module, (a, b) in modules.items():
        tensors[f"base_model.model.{module}.lora_A.weight"] = a
        tensors[f"base_model.model.{module}.lora_B.weight"] = b
    save_file(tensors, os.path.join(folder, "adapter_model.safetensors"), {"format": "pt"})
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "base_model_name_or_path": "tiny",
              "target_modules": sorted(modules)}
    with open(os.path.join(folder, "adapter_config.json"), "w") as file:
        json.dump(config, file, indent=2)
    return {m: alpha / rank * b.astype(float) @ a.astype(float) for m, (a, b) in modules.items()}


def measure(update):
    s = numpy.linalg.svd(update, compute_uv=False)
    s = s[s > 1e-7 * max(s[0], 1e-300)]
    p = s / s.sum() if len(s) else s
    return {"singular_values": s.tolist(), "norm": float(numpy.linalg.norm(update)),
            "effective_rank": float(numpy.exp(-(p * numpy.log(p)).sum())) if len(s) else 0.0,
            "stable_rank": float((s**2).sum() / s[0] ** 2) if len(s) else 0.0}


def basis(update):
    u, s, vt = numpy.linalg.svd(update, full_matrices=False)
    k = int((s > 1e-7 * max(s[0], 1e-300)).sum())
    return u[:, :k], vt[:k].T


def cosine(x, y):
    norms = numpy.linalg.norm(x) * numpy.linalg.norm(y)
    return float((x * y).sum() / norms) if norms else None


def compare(x, y):
    modules = []
    for name in sorted(set(x) | set(y)):
        zero = numpy.zeros_like(x[name] if name in x else y[name])
        a, b = x.get(name, zero), y.get(name, zero)
        angles = []
        for p, q in zip(basis(a), basis(b)):
            angles.append(sorted(scipy.linalg.subspace_angles(p, q).tolist()) if p.size and q.size else [])
        modules.append({"name": name, "similarity": cosine(a, b), "distance": float(numpy.linalg.norm(a - b)),
                        "left_angles": angles[0], "right_angles": angles[1], "spectra": [measure(a), measure(b)]})

    def flat(z):
        return numpy.concatenate([z[m["name"]].ravel() if m["name"] in z else
                                  numpy.zeros((x.get(m["name"], y.get(m["name"]))).size) for m in modules])
    fx, fy = flat(x), flat(y)
    return {"similarity": cosine(fx, fy), "distance": float(numpy.linalg.norm(fx - fy)),
            "norms": [float(numpy.linalg.norm(fx)), float(numpy.linalg.norm(fy))], "modules": modules}


q, v, up = (f"model.layers.0.{name}" for name in ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj"))
first = {q: factors(12, 16, 4), v: factors(5, 16, 4), up: factors(30, 12, 4)}
# Another rank and scale, a direction in common, a module that is zero.
second = {q: factors(12, 16, 3), v: factors(5, 16, 3), up: factors(30, 12, 3)}
second[q][0][0] = first[q][0][1]
second[q][1][:, 0] = first[q][1][:, 1]
second[up] = [second[up][0], numpy.zeros_like(second[up][1])]
# The first, a little moved, in other factors, without one module.
turn = random.standard_normal((4, 4))
third = {m: [(numpy.linalg.inv(turn) @ a).astype(numpy.float32), (b @ turn * (1 + 1e-4)).astype(numpy.float32)]
         for m, (a, b) in first.items() if m != v}

updates = {"first": write("first", 4, 6, first), "second": write("second", 3, 3, second),
           "third": write("third", 4, 6, third)}
pairs = {f"{x} {y}": compare(updates[x], updates[y])
         for x, y in (("first", "second"), ("second", "first"), ("first", "third"), ("first", "first"))}
with open(os.path.join(HERE, "expected.json"), "w") as file:
    json.dump(pairs, file, indent=1)
