"""The same works in PyTorch, NumPy (OpenBLAS) and ONNX Runtime: peer.py ROW VARIANT, spoken to like bench (Main.swift)."""

import math
import os
import sys
import time

import numpy as np


def hashed(shape, seed, scale=1.0, centre=0.0):
    i = np.arange(int(np.prod(shape)), dtype=np.uint32)
    h = i * np.uint32(2_654_435_761) + np.uint32((seed * 40_503) & 0xFFFFFFFF)
    h = (h ^ (h >> np.uint32(15))) * np.uint32(2_246_822_519)
    h ^= h >> np.uint32(13)
    x = (h >> np.uint32(8)).astype(np.float32) * np.float32(2 / 16_777_216) - np.float32(1)
    return (x * np.float32(scale) + np.float32(centre)).reshape(shape)


def tensor(shape, seed):
    import torch

    return torch.from_numpy(hashed(shape, seed))


def set_hashed(parameters):
    """`parameters`: (name, tensor) in our order."""
    import torch

    with torch.no_grad():
        for index, (name, p) in enumerate(parameters):
            fan_in = int(np.prod(p.shape[1:])) if p.dim() > 1 else 100
            centre = 1.0 if p.dim() == 1 and "norm" in name and name.endswith("weight") else 0.0
            scale = float(np.float32(1) / np.sqrt(np.float32(fan_in)))
            p.copy_(torch.from_numpy(hashed(tuple(p.shape), 100 + index, scale, centre)))


def peak_memory():
    """VmHWM: ru_maxrss would start from the parent's, which a child inherits until it starts its own program."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


class Work:
    def __init__(self, run, result):
        self.run, self.result = run, result


# ---- Products


def product(variant, x, w, transposed):
    """x times w, or times w transposed."""
    if variant == "numpy":
        a, b = x, (w.T if transposed else w)
        return Work(lambda: a @ b, lambda: [a @ b])
    if variant == "onnxruntime":
        return onnx_product(x, w, transposed)
    import torch

    a, b = torch.from_numpy(x), torch.from_numpy(w)
    if variant == "onednn":
        layer = torch.nn.Linear(w.shape[1] if transposed else w.shape[0], w.shape[0] if transposed else w.shape[1], bias=False)
        layer.weight.data = b if transposed else b.T.contiguous()
        from torch.utils import mkldnn

        fast, data = mkldnn.to_mkldnn(layer.eval()), a.to_mkldnn()
        torch.set_grad_enabled(False)
        return Work(lambda: fast(data), lambda: [fast(data).to_dense().numpy()])
    f = (lambda: torch.nn.functional.linear(a, b)) if transposed else (lambda: a @ b)
    if variant == "compile":
        inner = torch.compile(torch.nn.functional.linear if transposed else torch.matmul)
        f = lambda: inner(a, b)
    return Work(f, lambda: [f().numpy()])


def onnx_product(x, w, transposed):
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(w.T.copy() if transposed else w, "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return Work(lambda: session.run(None, {"x": x}), lambda: session.run(None, {"x": x}))


# ---- Training steps


def training(parameters, loss, variant):
    import torch

    if variant == "compile":
        loss = torch.compile(loss)
    tensors = [p for _, p in parameters]
    optimiser = torch.optim.AdamW(tensors, lr=1e-5, weight_decay=0.01)

    def step():
        loss().backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    def result():
        value = loss()
        value.backward()
        found = [value.detach().numpy().reshape(1)]
        found += [(p.grad if p.grad is not None else torch.zeros_like(p)).numpy().copy() for p in tensors]
        optimiser.zero_grad(set_to_none=True)
        return found

    return Work(step, result)


def autoencoder(variant):
    import torch
    import torch.nn.functional as F
    from torch import nn

    down = [1, 4, 4, 4, 4]
    up = [4, 256, 256, 8, 1]
    folds = [(nn.Conv1d(a, b, 5, padding=1), nn.Conv1d(b, b, 5, stride=5)) for a, b in zip(down, down[1:])]
    unfolds = [
        (nn.ConvTranspose1d(a, a, 5, stride=5), nn.Conv1d(a, b, 5, padding=5 if i == 3 else 4))
        for i, (a, b) in enumerate(zip(up, up[1:]))
    ]
    parameters = []
    for stage, name in ((folds, "down"), (unfolds, "up")):
        for i, pair in enumerate(stage):
            for j, layer in enumerate(pair):
                parameters += [(f"{name}.{i}.{j}.{n}", p) for n, p in layer.named_parameters()]
    set_hashed(parameters)
    count = 73_728
    x, noise, latent = tensor((8, count), 1), tensor((8, count), 2), tensor((8, 468), 3)
    norm, leaky = F.instance_norm, F.leaky_relu

    def loss():
        h = F.pad(x * 0.999 + noise * 0.001, (0, (count // 625 + 1) * 625 - count)).reshape(8, 1, -1)
        for i, (a, b) in enumerate(folds):
            h = b(norm(leaky(a(norm(h if i == 0 else leaky(h))))))
        h = (h.tanh() * 0.9 + latent.reshape(h.shape) * 0.1).clamp(-1, 1)
        for a, b in unfolds:
            h = b(norm(leaky(a(norm(leaky(h))))))
        return F.mse_loss(h[:, 0, :count], x)

    return training(parameters, loss, variant)


def denoiser_model(size=4096):
    import torch
    import torch.nn.functional as F
    from torch import nn

    class Denoiser(nn.Module):
        def __init__(self, k, condition, channels=(1, 32, 64, 128, 64, 32, 1)):
            super().__init__()
            self.time = nn.ModuleList([nn.Linear(256, k), nn.Linear(k, k)])
            self.condition = nn.Linear(condition, k)
            self.convs = nn.ModuleList([nn.Conv1d(a, b, 7, padding=3) for a, b in zip(channels, channels[1:])])
            self.norms = nn.ModuleList([nn.BatchNorm1d(c) for c in channels[1:-1]])
            self.register_buffer("frequencies", torch.exp(-math.log(10000) * torch.arange(128) / 128))

        def ours(self):
            found = []
            for i, layer in enumerate(self.time):
                found += [(f"time.{i}.{n}", p) for n, p in layer.named_parameters()]
            found += [(f"condition.{n}", p) for n, p in self.condition.named_parameters()]
            for i, conv in enumerate(self.convs):
                found += [(f"{i}.conv.{n}", p) for n, p in conv.named_parameters()]
                if i < len(self.norms):
                    found += [(f"{i}.norm.{n}", p) for n, p in self.norms[i].named_parameters()]
            return found

        def forward(self, x, times, condition):
            m, k = x.shape
            angles = times[:, None] * self.frequencies[None]
            tau = self.time[1](F.silu(self.time[0](torch.cat([angles.cos(), angles.sin()], 1)))).reshape(m, 1, k)
            gamma = self.condition(condition).reshape(m, 1, k)
            h, skips, encoders = x.reshape(m, 1, k), [], (len(self.convs) + 1) // 2 + 1
            for i, conv in enumerate(self.convs):
                if i >= encoders and skips:
                    h = h + skips.pop()
                h = conv((h + gamma) * tau)
                if i < len(self.norms):
                    h = F.elu(self.norms[i](h))
                if i < encoders - 2:
                    skips.append(h)
            return h.reshape(m, k)

    model = Denoiser(size, size)
    set_hashed(model.ours())
    return model, tensor((64, size), 1), torch.arange(64).float() * 15, tensor((64, size), 2)


def denoiser(variant, train):
    import torch

    model, x, times, condition = denoiser_model()
    if train:
        noise = tensor((64, 4096), 3)
        return training(model.ours(), lambda: torch.nn.functional.mse_loss(model(x, times, condition), noise), variant)
    model.eval()
    if variant == "onnxruntime":
        return onnx_denoiser(model, x, times, condition)
    f = torch.compile(model) if variant == "compile" else model

    def run():
        with torch.no_grad():
            return f(x, times, condition)

    return Work(run, lambda: [run().numpy()])


def onnx_denoiser(model, x, times, condition):
    import io

    import onnxruntime as ort
    import torch

    buffer = io.BytesIO()
    torch.onnx.export(
        model, (x, times, condition), buffer, input_names=["x", "t", "c"], opset_version=17, dynamo=False)
    session = ort.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
    feed = {"x": x.numpy(), "t": times.numpy(), "c": condition.numpy()}
    return Work(lambda: session.run(None, feed), lambda: session.run(None, feed))


def denoiser_class():
    return type(denoiser_model(256)[0])


def mamba2(d, state=128, headdim=64, taps=4, chunk=64):
    """Mamba-2 with the scan in chunks, as matrix products (Dao & Gu 2024, listing 1)."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    inner = 2 * d
    heads = inner // headdim
    channels = inner + 2 * state

    def segment_sums(a):
        """[..., L] to [..., L, L]: the sum over j < r <= i, minus infinity above the diagonal"""
        c = a.cumsum(-1)
        mask = torch.ones(a.shape[-1], a.shape[-1], dtype=torch.bool).tril()
        return (c[..., :, None] - c[..., None, :]).masked_fill(~mask, -torch.inf)

    class Mamba2(nn.Module):
        def __init__(self):
            super().__init__()
            self.dt_bias = nn.Parameter(torch.zeros(heads))
            self.A_log = nn.Parameter(torch.zeros(heads))
            self.D = nn.Parameter(torch.zeros(heads))
            self.in_proj = nn.Linear(d, inner + channels + heads, bias=False)
            self.conv1d = nn.Conv1d(channels, channels, taps, groups=channels, padding=taps - 1)
            self.norm = nn.Module()
            self.norm.weight = nn.Parameter(torch.ones(inner))
            self.out_proj = nn.Linear(inner, d, bias=False)

        def ours(self):
            names = ["dt_bias", "A_log", "D", "in_proj.weight", "conv1d.weight", "conv1d.bias", "norm.weight",
                     "out_proj.weight"]
            found = dict(self.named_parameters())
            return [(n, found[n]) for n in names]

        def forward(self, u):
            b, t, _ = u.shape
            n = t // chunk
            z, xbc, dt = self.in_proj(u).split([inner, channels, heads], dim=2)
            xbc = F.silu(self.conv1d(xbc.transpose(1, 2))[..., :t].transpose(1, 2))
            x, bs, cs = xbc.split([inner, state, state], dim=2)
            dt = F.softplus(dt + self.dt_bias)
            a = (-self.A_log.exp() * dt).reshape(b, n, chunk, heads).permute(0, 3, 1, 2)  # b h n l
            x4 = x.reshape(b, t, heads, headdim)
            xs = (x4 * dt[..., None]).reshape(b, n, chunk, heads, headdim)
            bs, cs = bs.reshape(b, n, chunk, state), cs.reshape(b, n, chunk, state)
            c = a.cumsum(-1)
            within = torch.exp(segment_sums(a))  # b h n l s
            scores = (cs @ bs.transpose(-1, -2))[:, None] * within
            xh = xs.permute(0, 3, 1, 2, 4)  # b h n l p
            y = scores @ xh
            decay = torch.exp(c[..., -1:] - c)
            states = (xh * decay[..., None]).transpose(-1, -2) @ bs[:, None]  # b h n p s
            states = torch.cat([torch.zeros_like(states[:, :, :1]), states], dim=2)
            between = torch.exp(segment_sums(F.pad(c[..., -1], (1, 0))))  # b h n+1 n+1
            states = torch.einsum("bhzc,bhcps->bhzps", between, states)[:, :, :-1]
            y = y + (cs[:, None] @ states.transpose(-1, -2)) * torch.exp(c)[..., None]
            y = y.permute(0, 2, 3, 1, 4).reshape(b, t, heads, headdim) + self.D[:, None] * x4
            y = y.reshape(b, t, inner) * F.silu(z)
            y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + 1e-5) * self.norm.weight
            return self.out_proj(y)

    return Mamba2()


def recurrent_diffusion(variant):
    import torch

    batch, tokens, d = 4, 256, 1024
    blocks = [mamba2(d), mamba2(d)]
    model = denoiser_class()(d, d)
    parameters = [(f"recurrent.{i}.{n}", p) for i, block in enumerate(blocks) for n, p in block.ours()] + model.ours()
    set_hashed(parameters)
    positions = tensor((batch, tokens, d), 1)
    x, noise = tensor((batch * tokens, d), 2), tensor((batch * tokens, d), 3)
    times = torch.arange(batch * tokens).float() % 1000

    def loss():
        prototypes = blocks[1](blocks[0](positions)).reshape(x.shape)
        return torch.nn.functional.mse_loss(model(x, times, prototypes), noise)

    return training(parameters, loss, variant)


def transformer(layers, d, heads, causal, norm_first, eps):
    import torch
    import torch.nn.functional as F
    from torch import nn

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.output = nn.Linear(d, 3 * d), nn.Linear(d, d)
            self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)
            self.norm1, self.norm2 = nn.LayerNorm(d, eps), nn.LayerNorm(d, eps)

        def attend(self, x, cache, at):
            b, t, _ = x.shape
            q, k, v = (m.reshape(b, t, heads, -1).transpose(1, 2) for m in self.qkv(x).split(d, dim=2))
            if cache is not None:
                cache[0][:, :, at:at + t], cache[1][:, :, at:at + t] = k, v
                k, v = cache[0][:, :, :at + t], cache[1][:, :, :at + t]
            y = F.scaled_dot_product_attention(q, k, v, is_causal=causal and cache is None)
            return self.output(y.transpose(1, 2).reshape(b, t, d))

        def forward(self, x, cache=None, at=0):
            if norm_first:
                x = x + self.attend(self.norm1(x), cache, at)
                return x + self.down(F.gelu(self.up(self.norm2(x))))
            x = self.norm1(x + self.attend(x, cache, at))
            return self.norm2(x + self.down(F.gelu(self.up(x))))

    return nn.ModuleList([Block() for _ in range(layers)])


def gpt_model():
    import torch
    from torch import nn

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(512, 384)
            self.positions = nn.Parameter(torch.zeros(512, 384))
            self.blocks = transformer(6, 384, 6, True, True, 1e-5)
            self.norm = nn.LayerNorm(384)
            self.head = nn.Linear(384, 512, bias=False)

        def ours(self):
            found = [("tokens.weight", self.tokens.weight), ("positions", self.positions)]
            found += [(f"blocks.{n}", p) for n, p in self.blocks.named_parameters()]
            return found + [("norm.weight", self.norm.weight), ("norm.bias", self.norm.bias), ("head", self.head.weight)]

        def forward(self, index, caches=None, at=0):
            x = self.tokens(index) + self.positions[at:at + index.shape[1]]
            for i, block in enumerate(self.blocks):
                x = block(x, caches[i] if caches is not None else None, at)
            return self.head(self.norm(x))

    model = GPT()
    set_hashed(model.ours())
    return model


def token(n, b):
    return (n * 37 + b * 101 + n * n % 89) % 512


def gpt_training(variant):
    import torch

    model = gpt_model()
    index = torch.tensor([[token(n, b) for n in range(513)] for b in range(8)])

    def loss():
        return torch.nn.functional.cross_entropy(model(index[:, :-1]).reshape(-1, 512), index[:, 1:].reshape(-1))

    return training(model.ours(), loss, variant)


def gpt_decoding(variant):
    import torch

    model = gpt_model().eval()
    index = torch.tensor([[token(n, 0) for n in range(256)]])

    def run():
        with torch.no_grad():
            caches = [(torch.empty(1, 6, 512, 64), torch.empty(1, 6, 512, 64)) for _ in range(6)]
            for n in range(256):
                logits = model(index[:, n:n + 1], caches, n)
            return logits

    return Work(run, lambda: [run().numpy()])


def bert(variant):
    import torch
    from torch import nn

    class BERT(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens, self.positions = nn.Embedding(30522, 768), nn.Embedding(512, 768)
            self.segments, self.norm = nn.Embedding(2, 768), nn.LayerNorm(768, 1e-12)
            self.blocks = transformer(12, 768, 12, False, False, 1e-12)

        def forward(self, index):
            x = self.tokens(index) + self.positions.weight[:index.shape[1]] + self.segments.weight[0]
            x = self.norm(x)
            for block in self.blocks:
                x = block(x)
            return x

    model = BERT().eval()
    set_hashed(list(model.named_parameters()))
    index = torch.tensor([[(n * 977 + 31) % 30522 for n in range(24)]])
    if variant == "onnxruntime":
        import io

        import onnxruntime as ort

        buffer = io.BytesIO()
        torch.onnx.export(model, (index,), buffer, input_names=["x"], opset_version=17, dynamo=False)
        session = ort.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
        feed = {"x": index.numpy()}
        return Work(lambda: session.run(None, feed), lambda: session.run(None, feed))
    f = torch.compile(model) if variant == "compile" else model

    def run():
        with torch.no_grad():
            return f(index)

    return Work(run, lambda: [run().numpy()])


def work(row, variant):
    kind, _, rest = row.partition("-")
    if kind == "sgemm":
        n = int(rest)
        return product(variant, hashed((n, n), 1), hashed((n, n), 2), False)
    if kind == "linear":
        return product(variant, hashed((int(rest), 1024), 1), hashed((4096, 1024), 2), True)
    if kind == "autoencoder":
        return autoencoder(variant)
    if kind == "rpg":
        return recurrent_diffusion(variant)
    if kind == "gpt":
        return gpt_training(variant) if rest == "train" else gpt_decoding(variant)
    if kind == "bert":
        return bert(variant)
    if kind == "denoiser":
        return denoiser(variant, rest == "train")
    raise SystemExit("unknown")


def main():
    row, variant = sys.argv[1:3]
    if variant not in ("numpy", "onnxruntime"):
        import torch

        torch.backends.mkldnn.enabled = variant != "noonednn"
        torch.set_num_threads(int(os.environ.get("BENCH_THREADS", os.cpu_count())))
    w = work(row, variant)
    print("ready", flush=True)
    for line in sys.stdin:
        line = line.strip()
        if not line:
            break
        if line.isdigit():
            times = []
            for _ in range(int(line)):
                start = time.perf_counter()
                w.run()
                times.append(time.perf_counter() - start)
            print(*times, flush=True)
        elif line == "memory":
            print(peak_memory(), flush=True)
        else:
            with open(line, "wb") as file:
                for part in w.result():
                    file.write(np.ascontiguousarray(part, dtype=np.float32).tobytes())
            print("saved", flush=True)


main()
