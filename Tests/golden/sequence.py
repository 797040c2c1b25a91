"""Writes the golden values of the sequence models' tests with PyTorch, in double.

    python Tests/golden/sequence.py    (from the repository root; torch 2.x)

Inputs are a formula that the tests repeat: ramp(shape, s)[i] = ((37 i + 11 s) mod 101) / 50 - 1.
"""
import math

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)


def ramp(shape, s):
    n = math.prod(shape)
    return torch.tensor([((37 * i + 11 * s) % 101) / 50 - 1 for i in range(n)]).reshape(shape)


def swift(name, tensor, every=1):
    values = ", ".join(repr(float(v)) for v in tensor.detach().flatten()[::every])
    return f"    static let {name}: [Double] = [\n        {values}\n    ]\n"


def set_ramps(parameters, scale):
    with torch.no_grad():
        for s, p in enumerate(parameters):
            p.copy_(scale * ramp(p.shape, s))


body = ""

# Attention of packed [1, 9, 3 * 8] with 2 heads
for name, causal in (("causal", True), ("full", False)):
    qkv = ramp((1, 9, 24), 1).requires_grad_()
    q, k, v = (t.reshape(1, 9, 2, 4).transpose(1, 2) for t in qkv.split(8, dim=2))
    out = F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2).reshape(1, 9, 8)
    (out * ramp(out.shape, 2)).sum().backward()
    body += swift(name + "Attention", out) + swift(name + "AttentionDx", qkv.grad)


def mamba2(u, w, headdim, state, taps):
    """One token at a time; mamba_ssm's Mamba2 with one group. w in the order of our parameters."""
    dt_bias, a_log, skip, w_in, conv, conv_bias, gamma, w_out = w
    heads = dt_bias.shape[0]
    inner = heads * headdim
    batch, tokens, _ = u.shape
    z, xbc, dt = (u @ w_in.T).split([inner, inner + 2 * state, heads], dim=2)
    xbc = F.conv1d(F.pad(xbc.transpose(1, 2), (taps - 1, 0)), conv, conv_bias, groups=inner + 2 * state)
    x, b, c = F.silu(xbc.transpose(1, 2)).split([inner, state, state], dim=2)
    dt = F.softplus(dt + dt_bias)
    decay = torch.exp(-dt * a_log.exp())
    h = torch.zeros(batch, heads, headdim, state)
    ys = []
    for t in range(tokens):
        xt = x[:, t].reshape(batch, heads, headdim)
        h = decay[:, t, :, None, None] * h + (dt[:, t, :, None] * xt)[..., None] * b[:, t, None, None, :]
        ys.append(((h * c[:, t, None, None, :]).sum(-1) + skip[:, None] * xt).reshape(batch, inner))
    y = torch.stack(ys, 1) * F.silu(z)
    y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + 1e-5) * gamma
    return y @ w_out.T


# d = 6, expand 2 with heads of 4: 3 heads; state 5; 67 tokens reach into a second chunk
shapes = [(3,), (3,), (3,), (2 * 12 + 10 + 3, 6), (22, 1, 4), (22,), (12,), (6, 12)]
w = [(0.5 * ramp(shape, s)).requires_grad_() for s, shape in enumerate(shapes)]
u = ramp((2, 67, 6), 9).requires_grad_()
y = mamba2(u, w, 4, 5, 4)
(y * ramp(y.shape, 10)).sum().backward()
body += swift("mamba", y, 7) + swift("mambaDx", u.grad, 7)
for name, p in zip(("DtBias", "ALog", "Skip", "Input", "Convolution", "ConvolutionBias", "Gamma", "Output"), w):
    body += swift("mamba" + name, p.grad)

# Blocks of 8 features, 2 heads, perceptron of 12
for name, first in (("pre", True), ("post", False)):
    layer = torch.nn.TransformerEncoderLayer(8, 2, 12, 0.0, F.gelu, batch_first=True, norm_first=first)
    set_ramps(layer.parameters(), 0.5)
    x = ramp((2, 5, 8), 13).requires_grad_()
    mask = torch.nn.Transformer.generate_square_subsequent_mask(5) if first else None
    y = layer(x, src_mask=mask, is_causal=first)
    (y * ramp(y.shape, 14)).sum().backward()
    body += swift(name + "Block", y) + swift(name + "BlockDx", x.grad)
    body += swift(name + "BlockPacked", layer.self_attn.in_proj_weight.grad)

with open("Tests/NNTests/SequenceGolden.swift", "w") as out:
    out.write("// Written by Tests/golden/sequence.py with PyTorch " + torch.__version__ + "; do not edit.\n")
    out.write("// swift-format-ignore-file\n\nenum SequenceGolden {\n" + body + "}\n")
