"""Golden values of RPG's networks, from an independent PyTorch build.

    python rpg.py            writes rpg.json beside this file

Parameters, inputs and records are those of cond_pdiff.py: every number follows from a name by a formula. The recurrent
model is written out one token at a time, the denoiser with PyTorch's own layers. Everything is in double precision.
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F

from cond_pdiff import Net, frequencies, normal_like, record, training_record

HEAD = 8  # numbers in a head of Mamba-2; 64 in the published model


def mamba2(net, name, u, features, state, taps=4):
    inner = 2 * features
    heads, channels = inner // HEAD, inner + 2 * state
    p = lambda part, *shape: net.parameter(f"{name}.{part}", *shape)
    dt_bias, a_log, skip = p("dt_bias", heads), p("A_log", heads), p("D", heads)
    z, xbc, dt = (u @ p("in_proj.weight", inner + channels + heads, u.shape[2]).T).split([inner, channels, heads], 2)
    xbc = F.conv1d(
        F.pad(xbc.transpose(1, 2), (taps - 1, 0)), p("conv1d.weight", channels, 1, taps), p("conv1d.bias", channels),
        groups=channels)
    x, b, c = F.silu(xbc.transpose(1, 2)).split([inner, state, state], 2)
    dt = F.softplus(dt + dt_bias)
    h, ys = torch.zeros(u.shape[0], heads, HEAD, state, dtype=u.dtype), []
    for t in range(u.shape[1]):
        xt = x[:, t].reshape(-1, heads, HEAD)
        decay = torch.exp(-dt[:, t] * a_log.exp())[:, :, None, None]
        h = decay * h + (dt[:, t, :, None] * xt)[..., None] * b[:, t, None, None, :]
        ys.append(((h * c[:, t, None, None, :]).sum(-1) + skip[:, None] * xt).flatten(1))
    y = torch.stack(ys, 1) * F.silu(z)
    y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + 1e-5) * p("norm.weight", inner)
    return y @ p("out_proj.weight", features, inner).T


def lstm(net, u, layers=2):
    d = u.shape[2]
    module = torch.nn.LSTM(d, d, layers, batch_first=True, dtype=torch.float64)
    own = {name: net.parameter(f"recurrence.{name}", *p.shape) for name, p in module.named_parameters()}
    return torch.func.functional_call(module, own, (u,))[0]


def gated(net, u, blocks=2):
    d = u.shape[2]
    for i in range(blocks):
        def linear(part, x, out):
            weight = net.parameter(f"recurrence.{i}.{part}.weight", out, x.shape[2])
            return x @ weight.T + net.parameter(f"recurrence.{i}.{part}.bias", out)
        y = linear("down", linear("value", u, 2 * d) * torch.sigmoid(linear("gate", u, 2 * d)), d)
        norm = f"recurrence.{i}.norm"
        u = F.layer_norm(y, (d,), net.parameter(norm + ".weight", d), net.parameter(norm + ".bias", d))
    return u


def positions(tokens, d):
    """Interleaved sines and cosines; first half the index inside the tensor, second half the tensor."""
    h = d // 2
    omega = 10000 ** (-2 * torch.arange(h // 2, dtype=torch.float64) / h)
    table = torch.zeros(len(tokens), d, dtype=torch.float64)
    for n, (tensor, index) in enumerate(tokens):
        for half, value in ((0, index), (h, tensor)):
            table[n, half : half + h : 2] = torch.sin(value * omega)
            table[n, half + 1 : half + h : 2] = torch.cos(value * omega)
    return table


def denoiser(net, x, times, prototype, channels, kernel=7):
    k = x.shape[1]
    angle = frequencies(times, 256)
    feature = torch.cat([angle.cos(), angle.sin()], dim=1).to(x.dtype)
    tau = net.linear("denoiser.time.second", F.silu(net.linear("denoiser.time.first", feature, k)), k)[:, None]
    gamma = net.linear("denoiser.condition", prototype, k)[:, None]
    sizes = [*channels, 1]
    encoders = (len(sizes) + 1) // 2 + 1  # of the list with the leading 1
    h, saved = x[:, None], []
    for i, c in enumerate(sizes):
        if i >= encoders and saved:
            h = h + saved.pop()
        h = net.conv(f"denoiser.layers.{i}.conv", (h + gamma) * tau, c, kernel, pad=kernel // 2)
        if i < len(sizes) - 1:
            h = F.elu(net.batch_norm(f"denoiser.layers.{i}.norm", h))
        if i < encoders - 2:
            saved.append(h)
    return h[:, 0]


def case(recurrence, tokens, d1, d2, k, channels, states=0, conditions=0, gate=0, batch=2, state=5):
    net = Net()
    picks = [(7 * i + 3) % (batch * len(tokens)) for i in range(5)]
    times = [17, 0, 999, 400, 731]

    def run():
        u = positions(tokens, d1)[None] + torch.zeros(batch, 1, d1, dtype=torch.float64)
        if states:
            u = u + net.parameter("states", states, d1)[torch.arange(batch) % states][:, None]
        if conditions:
            c = normal_like("condition", batch, conditions)
            c = net.linear("condition.1", F.silu(net.linear("condition.0", c, 6)), d1)[:, None]
            seen = torch.ones(len(tokens), 1, dtype=torch.float64)
            if gate:
                seen[: len(tokens) - gate] = 0
            u = u + c * seen
        else:
            u = u + net.parameter("constant", d1)
        prototypes = recurrence(net, u)
        x = normal_like("x", len(picks), k)
        return prototypes, denoiser(net, x, times, prototypes.reshape(-1, d2)[picks], channels)

    net.train = False
    with torch.no_grad():
        prototypes, output = run()
    out = {"encode": record(prototypes), "output": record(output)}
    net.train = True
    # The last third of each token stands for padding.
    mask = torch.ones(len(picks), k, dtype=torch.float64)
    mask[:, 2 * k // 3 :] = 0
    _, trained = run()
    error = (trained - normal_like("target", len(picks), k)) ** 2
    out |= training_record(net, (error * mask).sum() / mask.sum())
    out["buffers"] = {name: record(b, 2, 4) for name, b in net.buffers.items()}
    out["count"] = net.count()
    return out


def main():
    tokens = [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (2, 1), (3, 0)]
    mamba = lambda d2: lambda net, u: mamba2(
        net, "recurrence.blocks.1", mamba2(net, "recurrence.blocks.0", u, u.shape[2], 5), d2, 5)
    cases = {
        "published": case(mamba(16), tokens, 16, 16, 24, (4, 6, 8, 6, 4), states=3),
        "large": case(mamba(16), tokens, 8, 16, 20, (4, 6, 4), conditions=5, gate=3),
        "lstm": case(lstm, tokens, 8, 8, 20, (4, 6, 4), conditions=5),
        "perceptron": case(gated, tokens, 8, 8, 20, (4, 6, 4), conditions=5),
    }
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps({"lengths": {}, "counts": {}, "cases": cases}, indent=None, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
