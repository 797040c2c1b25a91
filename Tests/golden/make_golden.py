"""Writes the golden values of the Tensor and NN tests with PyTorch, in double.

    python Tests/golden/make_golden.py    (from the repository root; torch 2.x and numpy)

Inputs are a formula that the tests repeat: ramp(shape, s)[i] = ((37 i + 11 s) mod 101) / 50 - 1.
"""
import math

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)


def ramp(shape, s):
    n = math.prod(shape)
    return torch.tensor([((37 * i + 11 * s) % 101) / 50 - 1 for i in range(n)]).reshape(shape)


def swift(name, tensor):
    values = ", ".join(repr(float(v)) for v in tensor.detach().flatten())
    return f"    static let {name}: [Double] = [\n        {values}\n    ]\n"


def file(path, body):
    with open(path, "w") as out:
        out.write("// Written by Tests/golden/make_golden.py with PyTorch " + torch.__version__ + "; do not edit.\n")
        out.write("// swift-format-ignore-file\n\nenum Golden {\n" + body + "}\n")


tensor = ""
x, w, b = (t.requires_grad_() for t in (ramp((2, 3, 4), 1), ramp((3, 2, 5), 2), ramp((2,), 3)))
y = F.conv_transpose1d(x, w, b, stride=3, padding=2, output_padding=1)
(y * ramp(y.shape, 4)).sum().backward()
tensor += swift("convTranspose", y) + swift("convTransposeDx", x.grad) + swift("convTransposeDw", w.grad)

x, g, b = (t.requires_grad_() for t in (ramp((3, 7), 1), ramp((7,), 2), ramp((7,), 3)))
y = F.layer_norm(x, (7,), g, b)
(y * ramp(y.shape, 4)).sum().backward()
tensor += swift("layerNorm", y) + swift("layerNormDx", x.grad) + swift("layerNormDgamma", g.grad)

x = ramp((2, 3, 5), 1).requires_grad_()
y = F.instance_norm(x)
(y * ramp(y.shape, 4)).sum().backward()
tensor += swift("instanceNorm", y) + swift("instanceNormDx", x.grad)

x, g = (t.requires_grad_() for t in (ramp((3, 7), 1), ramp((7,), 2)))
y = F.rms_norm(x, (7,), g, 1e-6)
(y * ramp(y.shape, 4)).sum().backward()
tensor += swift("rmsNorm", y) + swift("rmsNormDx", x.grad)

x = (3 * ramp((3, 5), 1)).requires_grad_()
loss = F.cross_entropy(x, torch.tensor([4, 0, 2]))
loss.backward()
tensor += swift("crossEntropy", loss) + swift("crossEntropyDx", x.grad)

x = 3 * ramp((11,), 1)
for name, f in {
    "gelu": F.gelu, "geluTanh": lambda v: F.gelu(v, approximate="tanh"), "silu": F.silu, "elu": F.elu,
    "leakyReLU": F.leaky_relu, "softplus": F.softplus,
}.items():
    tensor += swift(name, f(x))
file("Tests/TensorTests/Golden.swift", tensor)

nn = ""
layer = torch.nn.BatchNorm1d(3)
with torch.no_grad():
    layer.weight.copy_(ramp((3,), 2))
    layer.bias.copy_(ramp((3,), 3))
for step in range(2):
    x = ramp((4, 3, 5), step).requires_grad_()
    y = layer(x)
(y * ramp(y.shape, 4)).sum().backward()
nn += swift("batchNorm", y) + swift("batchNormDx", x.grad) + swift("batchNormDgamma", layer.weight.grad)
nn += swift("runningMean", layer.running_mean) + swift("runningVariance", layer.running_var)
layer.eval()
nn += swift("batchNormEvaluation", layer(ramp((2, 3), 5)))

for name, make in {
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, betas=(0.8, 0.99), eps=1e-8, weight_decay=0.05),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1),
}.items():
    p = torch.nn.Parameter(ramp((6,), 1))
    optimiser = make([p])
    for step in range(3):
        optimiser.zero_grad()
        (p * p * ramp((6,), step + 2)).sum().backward()
        optimiser.step()
    nn += swift(name, p)

p = torch.nn.Parameter(ramp((6,), 1))
(p * p).sum().backward()
norm = torch.nn.utils.clip_grad_norm_([p], 0.5)
nn += swift("clipNorm", norm) + swift("clipped", p.grad)

optimiser = torch.optim.SGD([p], lr=1.0)
plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=0.5, patience=2, cooldown=1)
factors = []
for loss in [5, 4, 4, 4, 4, 4, 4, 4, 4, 3, 3, 3, 3, 3, 3, 3]:
    plateau.step(loss)
    factors.append(optimiser.param_groups[0]["lr"])
nn += swift("plateau", torch.tensor(factors))

t = torch.tensor([0.0, 1.0, 37.5])
freqs = torch.exp(-math.log(10000) * torch.arange(0, 4) / 4)
args = t[:, None] * freqs[None]
nn += swift("timeHalves", torch.cat([torch.cos(args), torch.sin(args)], dim=-1))
nn += swift("timeInterleaved", torch.stack([torch.sin(args), torch.cos(args)], dim=-1).flatten(1))
file("Tests/NNTests/Golden.swift", nn)

# Philox-4x32-10 with seed 1, stream 0, position 0, then Box-Muller, from their definitions.
def philox(counter, key):
    c, k, mask = list(counter), list(key), 0xFFFFFFFF
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & mask, (p0 >> 32) ^ c[3] ^ k[1], p0 & mask]
        k = [(k[0] + 0x9E3779B9) & mask, (k[1] + 0xBB67AE85) & mask]
    return c


bits = philox([0, 0, 0, 0], [1, 0])
normals = []
for a, b in (bits[:2], bits[2:]):
    radius = math.sqrt(-2 * math.log((a + 0.5) / 2**32))
    normals += [radius * math.cos(2 * math.pi * b / 2**32), radius * math.sin(2 * math.pi * b / 2**32)]
with open("Tests/TensorTests/Golden.swift", "a") as out:
    out.write("\nextension Golden {\n" + swift("normals", torch.tensor(normals)) + "}\n")
