"""Golden values of the COND P-DIFF and p-diff networks, from an independent PyTorch build.

    python cond_pdiff.py            writes cond_pdiff.json beside this file
    python cond_pdiff.py --time     prints seconds per forward pass and training step at the published NLP size

No weights are stored: both sides fill every parameter by the same formula. Parameter `name`, element i (row-major):

    word(name, i) = splitmix64 output for state FNV-1a-64(name) + (i + 1) * 0x9E3779B97F4A7C15
    unit(name, i) = (word >> 40) / 2^23 - 1                                  in [-1, 1), exact in single precision

    two or more dimensions   unit / sqrt(count / shape[0])
    norm scale, running variance   1 + unit / 4
    bias, norm shift, running mean   unit / 10

Inputs and noise are sqrt(3) unit (variance 1), images (1 + unit) / 2. A result is recorded as its shape, its norm,
some entries, and a sketch: sums of its entries with the signs of bit j of word("sketch", i), so that the distance of
two sketches estimates the distance of the whole results. Everything is computed in double precision.

Shapes: adapters [n, D], latents [n, P], conditions [n, C]; signals inside are [n, channels, length].
"""

import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def words(name, count):
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = (state ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    with np.errstate(over="ignore"):
        z = np.uint64(state) + np.arange(1, count + 1, dtype=np.uint64) * GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def unit(name, *shape):
    count = math.prod(shape)
    return torch.from_numpy((words(name, count) >> np.uint64(40)).astype(np.float64) / 2**23 - 1).reshape(shape)


def normal_like(name, *shape):
    return unit(name, *shape) * math.sqrt(3)


class Net:
    """Creates a parameter the first time that a layer of this name is applied."""

    def __init__(self, device="cpu", dtype=torch.float64, train=True):
        self.parameters, self.buffers = {}, {}
        self.device, self.dtype, self.train = device, dtype, train

    def parameter(self, name, *shape):
        if name not in self.parameters:
            if self.device == "meta":
                value = torch.empty(shape, device="meta")
            elif len(shape) > 1:
                value = unit(name, *shape) / math.sqrt(math.prod(shape[1:]))
            elif name.endswith("orm.weight"):
                value = 1 + unit(name, *shape) / 4
            else:
                value = unit(name, *shape) / 10
            self.parameters[name] = value.to(self.dtype).requires_grad_()
        assert self.parameters[name].shape == shape, (name, self.parameters[name].shape, shape)
        return self.parameters[name]

    def count(self):
        return sum(p.numel() for p in self.parameters.values())

    def conv(self, name, x, cout, k, stride=1, pad=0):
        weight = self.parameter(name + ".weight", cout, x.shape[1], k)
        return F.conv1d(x, weight, self.parameter(name + ".bias", cout), stride, pad)

    def conv2d(self, name, x, cout, k, stride, pad):
        weight = self.parameter(name + ".weight", cout, x.shape[1], k, k)
        return F.conv2d(x, weight, self.parameter(name + ".bias", cout), stride, pad)

    def up(self, name, x, cout, k, stride, pad=0, output_pad=0):
        weight = self.parameter(name + ".weight", x.shape[1], cout, k)
        return F.conv_transpose1d(x, weight, self.parameter(name + ".bias", cout), stride, pad, output_pad)

    def linear(self, name, x, out):
        weight = self.parameter(name + ".weight", out, x.shape[1])
        return F.linear(x, weight, self.parameter(name + ".bias", out))

    def batch_norm(self, name, x):
        c = x.shape[1]
        weight, bias = self.parameter(name + ".weight", c), self.parameter(name + ".bias", c)
        if self.device == "meta":
            return x
        mean, variance = name + ".running_mean", name + ".running_var"
        if mean not in self.buffers:
            self.buffers[mean] = (unit(mean, c) / 10).to(self.dtype)
            self.buffers[variance] = (1 + unit(variance, c) / 4).to(self.dtype)
        return F.batch_norm(
            x, self.buffers[mean], self.buffers[variance], weight, bias, self.train, momentum=0.1, eps=1e-5)


def instance_norm(x):
    return F.instance_norm(x, eps=1e-5)


# ---- Autoencoders


class ConvAutoencoder:
    """Fully convolutional; latent is a map [channels, length] flattened, bounded by tanh."""

    def __init__(self, net, d, k=5, fold=5, encoder=(4, 4, 4, 4), decoder=(4, 256, 256, 8), s_in=0.001, s_z=0.1):
        self.net, self.d, self.k, self.fold, self.encoder, self.decoder = net, d, k, fold, encoder, decoder
        self.s_in, self.s_z = s_in, s_z
        block = fold ** len(encoder)
        self.padded = (d // block + 1) * block
        self.lengths = []

    def encode(self, x):
        h = F.pad(x, (0, self.padded - self.d))[:, None, :]
        for i, c in enumerate(self.encoder):
            if i > 0:
                h = F.leaky_relu(h)
            h = self.net.conv(f"encoder.{i}.mix", instance_norm(h), c, self.k, pad=1)
            h = self.net.conv(f"encoder.{i}.fold", instance_norm(F.leaky_relu(h)), c, self.k, stride=self.fold)
            self.lengths.append(h.shape[2])
        return torch.tanh(h).flatten(1)

    def decode(self, z):
        h = z.reshape(z.shape[0], self.decoder[0], -1)
        outs = (*self.decoder[1:], 1)
        for i, c in enumerate(outs):
            last = i == len(outs) - 1
            h = instance_norm(F.leaky_relu(h))
            h = self.net.up(f"decoder.{i}.unfold", h, h.shape[1], self.k, self.fold)
            h = instance_norm(F.leaky_relu(h))
            h = self.net.conv(f"decoder.{i}.mix", h, c, self.k, pad=self.fold if last else self.fold - 1)
            self.lengths.append(h.shape[2])
        return h[:, 0, : self.d]

    def loss(self, x, noise_in, noise_z):
        mixed = (1 - self.s_in) * x + self.s_in * noise_in
        z = self.encode(mixed)
        z = ((1 - self.s_z) * z + self.s_z * noise_z).clamp(-1, 1)
        return F.mse_loss(self.decode(z), x)


class StridedAutoencoder:
    """Stride-2 convolutions around a linear bottleneck. `deep` is the vision network (activations around the
    latent and one more linear layer in the decoder); otherwise the parent network with additive noise."""

    def __init__(self, net, d, channels, k, latent, deep, s_in=0.0, s_z=0.0):
        self.net, self.d, self.channels, self.k, self.latent, self.deep = net, d, channels, k, latent, deep
        self.s_in, self.s_z = s_in, s_z
        block = 2 ** len(channels)
        self.padded = -(-d // block) * block
        self.last = self.padded // block

    def encode(self, x):
        h = F.pad(x, (0, self.padded - self.d))[:, None, :]
        for i, c in enumerate(self.channels):
            h = self.net.conv(f"encoder.{i}.conv", h, c, self.k, stride=2, pad=self.k // 2)
            h = F.leaky_relu(self.net.batch_norm(f"encoder.{i}.norm", h))
        assert h.shape[2] == self.last
        h = self.net.linear("squeeze", h.flatten(1), self.latent)
        return self.net.linear("mean", F.leaky_relu(h) if self.deep else h, self.latent)

    def decode(self, z):
        if self.deep:
            z = F.elu(self.net.linear("widen", z, self.latent))
        h = self.net.linear("expand", z, self.channels[-1] * self.last).reshape(-1, self.channels[-1], self.last)
        outs = (*reversed(self.channels[:-1]), self.channels[0])
        for i, c in enumerate(outs):
            h = self.net.up(f"decoder.{i}.conv", h, c, self.k, 2, self.k // 2, 1)
            h = F.elu(self.net.batch_norm(f"decoder.{i}.norm", h))
        return self.net.conv("output", h, 1, self.k, pad=self.k // 2)[:, 0, : self.d]

    def loss(self, x, noise_in, noise_z):
        z = self.encode(x + self.s_in * noise_in) + self.s_z * noise_z
        return F.mse_loss(self.decode(z), x)


# ---- Denoisers


def frequencies(t, width):
    rates = torch.exp(-math.log(10000) * torch.arange(0, width, 2, dtype=torch.float64) / width)
    return torch.as_tensor(t, dtype=torch.float64)[:, None] * rates


class ConcatConvDenoiser:
    def __init__(self, net, latent, condition, channels=(64, 128, 256, 512), table=1000, shared=False):
        self.net, self.latent, self.length = net, latent, latent + condition
        self.channels, self.table, self.shared = channels, table, shared

    def block(self, i, x, mid, out):
        h = x if i == 0 else F.leaky_relu(x)
        h = self.net.conv(f"blocks.{i}.first", instance_norm(h), mid, 3, pad=1)
        return self.net.conv(f"blocks.{i}.second", instance_norm(F.leaky_relu(h)), out, 3, pad=1)

    def __call__(self, x, times, condition=None):
        table = self.net.parameter("time.weight", self.table, self.length)
        rows = [times[0]] * len(times) if self.shared else times
        tau = table[torch.tensor(rows)][:, None, :]
        h = x if condition is None else torch.cat([x, condition], dim=1)
        h = h[:, None, :]
        skips = []
        for i, c in enumerate(self.channels):
            h = self.block(i, h + tau, c, c)
            skips.append(h)
        skips.pop()
        n = len(self.channels)
        for i, c in enumerate(reversed(self.channels[:-1])):
            h = self.block(n + i, h + tau, c, c) + skips.pop()
        h = self.block(2 * n - 1, h + tau, self.channels[0], 1)
        return self.net.linear("output", h[:, 0, :], self.latent)


class VisionDenoiser:
    def __init__(self, net, latent, condition, channels=(64, 128, 256, 512, 768, 1024, 1024, 32), k=3):
        self.net, self.latent, self.condition, self.channels, self.k = net, latent, condition, channels, k

    def stage(self, name, x, out, activation, last=False):
        h = self.net.conv(name + ".first", x, out, self.k, pad=self.k // 2)
        h = activation(self.net.batch_norm(name + ".firstNorm", h))
        h = self.net.conv(name + ".second", h, out, self.k, pad=self.k // 2)
        return h if last else activation(self.net.batch_norm(name + ".secondNorm", h))

    def __call__(self, x, times, condition):
        width = self.channels[-1]
        angle = frequencies(times, width)
        tau = torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1).to(x.dtype).to(x.device)
        tau = self.net.linear("time.second", F.silu(self.net.linear("time.first", tau, width)), width)[:, :, None]
        if self.condition != self.latent:
            condition = self.net.linear("condition", condition, self.latent)
        cond = condition[:, None, :]
        h, skips = x[:, None, :], []
        for i, c in enumerate(self.channels):
            h = self.stage(f"encoder.{i}", h, c, F.leaky_relu) + cond
            skips.append(h)
        skips.pop()
        size = width * self.latent
        h = F.leaky_relu(self.net.linear("middle", (h + tau).flatten(1), size).reshape(h.shape)) + tau + cond
        for i, c in enumerate(reversed(self.channels[:-1])):
            h = self.stage(f"decoder.{i}", h, c, F.elu) + skips.pop() + cond
        return self.stage(f"decoder.{len(self.channels) - 1}", h, 1, F.elu, last=True)[:, 0, :]


class ParentDenoiser:
    def __init__(self, net, latent, condition=0, channels=(64, 128, 256, 512, 256, 128, 64), k=7, width=256):
        self.net, self.latent, self.condition, self.channels = net, latent, condition, channels
        self.k, self.width = k, width

    def __call__(self, x, times, condition=None):
        angle = frequencies(times, self.width)
        tau = torch.cat([angle.cos(), angle.sin()], dim=1).to(x.dtype).to(x.device)
        tau = self.net.linear("time.second", F.silu(self.net.linear("time.first", tau, self.latent)), self.latent)
        if self.condition:
            tau = tau + self.net.linear("condition", condition, self.latent)
        tau = tau[:, None, :]
        h, skips, layers = x[:, None, :], [], len(self.channels) + 1
        for i, c in enumerate((*self.channels, 1)):
            if i >= layers - 3:
                h = h + skips.pop()
            h = self.net.conv(f"layers.{i}.conv", h + tau, c, self.k, pad=self.k // 2)
            if i < layers - 1:
                h = F.elu(self.net.batch_norm(f"layers.{i}.norm", h))
            if i < 3:
                skips.append(h)
        return h[:, 0, :]


def image_encoder(net, image, middle=64, channels=256, out=256):
    h = F.leaky_relu(net.conv2d("first", image, middle, 7, 4, 3))
    h = net.conv2d("second", h, channels, 5, 2, 2).mean(dim=(2, 3))
    return net.linear("output", F.leaky_relu(h), out)


# ---- Records


def sketch(value, bits):
    flat = value.detach().double().flatten().numpy()
    word = words("sketch", flat.size)
    signs = [((word >> np.uint64(j)) & np.uint64(1)).astype(np.float64) * 2 - 1 for j in range(bits)]
    return [float(np.dot(flat, s)) for s in signs]


def record(value, entries=6, bits=16):
    flat = value.detach().double().flatten()
    picks = sorted({(j * 2654435761 + 7) % flat.numel() for j in range(entries)})
    return {
        "shape": list(value.shape),
        "norm": float(flat.norm()),
        "entries": [[i, float(flat[i])] for i in picks],
        "sketch": sketch(value, bits),
    }


def training_record(net, loss):
    names = list(net.parameters)
    for p in net.parameters.values():
        p.grad = None
    loss.backward()
    return {
        "loss": float(loss.detach()),
        "gradients": {
            name: record(net.parameters[name].grad, entries=2, bits=4)
            for name in names
            if net.parameters[name].grad is not None
        },
    }


def autoencoder_case(net, model, n, noise_z_count):
    x = normal_like("x", n, model.d)
    noise_in, noise_z = normal_like("inputNoise", n, model.d), normal_like("latentNoise", n, noise_z_count)
    out = {"count": None}
    net.train = False
    with torch.no_grad():
        out["encode"] = record(model.encode(x))
        out["decode"] = record(model.decode(normal_like("z", n, noise_z_count) / 2))
    net.train = True
    out |= training_record(net, model.loss(x, noise_in, noise_z))
    if net.buffers:
        out["buffers"] = {name: record(b, 2, 4) for name, b in net.buffers.items()}
        net.train = False
        with torch.no_grad():
            out["encodeAfter"] = record(model.encode(x))
    out["count"] = net.count()
    return out


def denoiser_case(net, model, n, times, condition):
    x, target = normal_like("x", n, model.latent), normal_like("target", n, model.latent)
    c = normal_like("condition", n, condition) if condition else None
    out = {"count": None}
    net.train = False
    with torch.no_grad():
        out["output"] = record(model(x, times, c))
    net.train = True
    out |= training_record(net, F.mse_loss(model(x, times, c), target))
    if net.buffers:
        out["buffers"] = {name: record(b, 2, 4) for name, b in net.buffers.items()}
    out["count"] = net.count()
    return out


VISION_CHANNELS = (16, 32, 64, 128, 256, 384, 512, 768, 1024, 64)
PARENT_CHANNELS = (64, 128, 256, 256, 32)


def counts():
    """Shapes and parameter counts at the published sizes, on the meta device."""
    lengths, out = {}, {}
    for d in (73728, 147456, 294912, 1179648, 92160, 2048):
        net = Net("meta", torch.float32)
        model = ConvAutoencoder(net, d)
        z = model.encode(torch.empty(1, d, device="meta"))
        model.decode(z)
        lengths[str(d)] = {"padded": model.padded, "lengths": model.lengths, "latent": z.shape[1], "count": net.count()}
    for p, c in ((468, 512), (940, 512), (1884, 512), (7548, 512), (588, 512)):
        net = Net("meta", torch.float32)
        ConcatConvDenoiser(net, p, c)(torch.empty(1, p, device="meta"), [0], torch.empty(1, c, device="meta"))
        out[f"concatDenoiser{p}"] = net.count()
    for name, d, channels, k, latent, deep in (
        ("visionAutoencoder", 516096, VISION_CHANNELS, 9, 256, True),
        ("cifarAutoencoder", 55296, (32, 64, 96, 128, 192, 256, 384, 512, 64), 7, 64, True),
        ("parentAutoencoder", 2048, PARENT_CHANNELS, 7, 128, False),
    ):
        net = Net("meta", torch.float32)
        model = StridedAutoencoder(net, d, channels, k, latent, deep)
        model.decode(model.encode(torch.empty(1, d, device="meta")))
        out[name] = net.count()
        # The published networks carry a variance head, Linear(latent -> latent), that deterministic mode never uses.
        out[name + "WithVarianceHead"] = net.count() + latent * latent + latent
    net = Net("meta", torch.float32)
    VisionDenoiser(net, 256, 256)(torch.empty(1, 256, device="meta"), [0], torch.empty(1, 256, device="meta"))
    out["visionDenoiser"] = net.count()
    net = Net("meta", torch.float32)
    image_encoder(net, torch.empty(1, 3, 256, 256, device="meta"))
    out["imageEncoder"] = net.count()
    out["visionDenoiserWithImageEncoder"] = out["visionDenoiser"] + out["imageEncoder"]
    net = Net("meta", torch.float32)
    ParentDenoiser(net, 128)(torch.empty(1, 128, device="meta"), [0])
    out["parentDenoiser"] = net.count()
    return lengths, out


def golden():
    lengths, published = counts()
    out = {"lengths": lengths, "counts": published, "cases": {}}
    cases = out["cases"]

    net = Net()
    cases["convAutoencoderSmall"] = autoencoder_case(
        net, ConvAutoencoder(net, 704, 3, 3, (2, 2, 2, 2), (2, 8, 8, 4)), 3, 18)
    net = Net()
    cases["convAutoencoderMedium"] = autoencoder_case(
        net, ConvAutoencoder(net, 2048, decoder=(4, 16, 16, 8)), 2, 12)
    net = Net()
    cases["convAutoencoderPublished"] = autoencoder_case(net, ConvAutoencoder(net, 73728), 1, 468)
    net = Net()
    cases["visionAutoencoder"] = autoencoder_case(
        net, StridedAutoencoder(net, 100, (4, 6, 8, 3), 9, 5, True), 3, 5)
    net = Net()
    cases["parentAutoencoder"] = autoencoder_case(
        net, StridedAutoencoder(net, 90, (4, 6, 5), 7, 8, False, 0.001, 0.1), 3, 8)

    for name, condition, shared in (("", 8, False), ("Unconditional", 0, False), ("Shared", 8, True)):
        net = Net()
        model = ConcatConvDenoiser(net, 12, condition, (4, 6, 8, 10), shared=shared)
        cases["concatDenoiser" + name] = denoiser_case(net, model, 3, [17, 0, 999], condition)
    net = Net()
    cases["concatDenoiserPublished"] = denoiser_case(net, ConcatConvDenoiser(net, 468, 512), 2, [250, 731], 512)
    for name, condition in (("", 16), ("Projected", 5)):
        net = Net()
        model = VisionDenoiser(net, 16, condition, (4, 6, 8, 4))
        cases["visionDenoiser" + name] = denoiser_case(net, model, 3, [17, 0, 999], condition)
    for name, condition in (("", 0), ("Conditional", 5)):
        net = Net()
        model = ParentDenoiser(net, 16, condition, (4, 6, 8, 10, 8, 6, 4), width=8)
        cases["parentDenoiser" + name] = denoiser_case(net, model, 3, [17, 0, 999], condition)

    net = Net()
    y = image_encoder(net, (1 + unit("image", 2, 3, 33, 29)) / 2, 4, 6, 5)
    cases["imageEncoder"] = {"output": record(y)} | training_record(net, F.mse_loss(y, normal_like("target", 2, 5)))
    cases["imageEncoder"]["count"] = net.count()
    return out


def timing():
    torch.set_num_threads(2)
    n, d, p, c = 8, 73728, 468, 512
    for name in ("autoencoder", "denoiser"):
        net = Net(dtype=torch.float32)
        if name == "autoencoder":
            model, x = ConvAutoencoder(net, d), normal_like("x", n, d).float()
            noise, latent = torch.randn_like(x), torch.randn(n, p)
            forward = lambda: model.decode(model.encode(x))
            loss = lambda: model.loss(x, noise, latent)
        else:
            model, x, cond = ConcatConvDenoiser(net, p, c), torch.randn(n, p), torch.randn(n, c)
            forward = lambda: model(x, [3] * n, cond)
            loss = lambda: F.mse_loss(forward(), x)
        with torch.no_grad():
            forward()
        optimiser = torch.optim.AdamW(net.parameters.values(), lr=1e-3)
        forwards, steps = [], []
        for _ in range(5):
            start = time.perf_counter()
            with torch.no_grad():
                forward()
            forwards.append(time.perf_counter() - start)
            start = time.perf_counter()
            optimiser.zero_grad()
            loss().backward()
            optimiser.step()
            steps.append(time.perf_counter() - start)
        print(f"{name} batch {n}: forward {min(forwards):.3f} s, training step {min(steps):.3f} s "
              f"(medians {sorted(forwards)[2]:.3f}, {sorted(steps)[2]:.3f})")


if __name__ == "__main__":
    if "--time" in sys.argv:
        timing()
    else:
        text = json.dumps(golden(), separators=(",", ":")).replace('"},"', '"},\n"').replace("},", "},\n")
        Path(__file__).with_suffix(".json").write_text(text + "\n")
