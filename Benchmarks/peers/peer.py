"""The same works in PyTorch, NumPy (OpenBLAS) and ONNX Runtime: peer.py ROW VARIANT, spoken to like bench (Main.swift)."""

import math
import os
import resource
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
            centre = 1.0 if name.endswith("norm.weight") else 0.0
            scale = float(np.float32(1) / np.sqrt(np.float32(fan_in)))
            p.copy_(torch.from_numpy(hashed(tuple(p.shape), 100 + index, scale, centre)))


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


def denoiser_model():
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

    model = Denoiser(4096, 4096)
    set_hashed(model.ours())
    return model, tensor((64, 4096), 1), torch.arange(64).float() * 15, tensor((64, 4096), 2)


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


def work(row, variant):
    kind, _, rest = row.partition("-")
    if kind == "sgemm":
        n = int(rest)
        return product(variant, hashed((n, n), 1), hashed((n, n), 2), False)
    if kind == "linear":
        return product(variant, hashed((int(rest), 1024), 1), hashed((4096, 1024), 2), True)
    if kind == "autoencoder":
        return autoencoder(variant)
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
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, flush=True)
        else:
            with open(line, "wb") as file:
                for part in w.result():
                    file.write(np.ascontiguousarray(part, dtype=np.float32).tobytes())
            print("saved", flush=True)


main()
