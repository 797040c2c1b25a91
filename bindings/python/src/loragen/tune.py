"""Training compact adapters in PyTorch: one number per frozen direction, on an unchanged base model.

    basis = loragen.Basis.compute("model/", "model.basis.safetensors", targets=["query", "value"])
    tuned = loragen.tune.CompactTuning(model, basis)
    optimizer = torch.optim.AdamW(tuned.parameters(), lr=0.1, weight_decay=0)
    ...                                     # train `model` as ever
    tuned.save("task.compact.safetensors")  # expand it with `loragen expand`

The layer computes W x + left (delta * (right x)). delta starts at 0, so step 0 is the base model to the bit, and W is neither
changed nor copied: the papers' own form, a residual plus a part with the trained values, is the same function, but rounds W
twice and leaves the residual behind when it is taken off. Backward keeps one number per token and direction, not the layer's
input. docs/compact.md says why the papers' other initialisations are not offered.
"""

from __future__ import annotations

from typing import Any, Iterator

import numpy
import torch
from torch import nn

from ._adapters import Path
from ._compact import Basis, CompactAdapter


class CompactTuning(nn.Module):
    """Adds a compact adapter to a model's layers by hooks, which `remove` takes off.

    All of the model's parameters stop requiring gradients; set those of a head of your own back. Singular values are 1 to
    30, not 0.01: learning rates are 0.1 to 0.3 for SVFit, 0.01 to 0.03 for LoLDU.
    """

    def __init__(self, model: nn.Module, basis: Basis, *, rank: int = 0, relative: bool = False) -> None:
        """`rank` takes the first directions of each module, 0 all. `relative` trains delta / sigma."""
        super().__init__()
        self._basis = basis
        self._relative = relative
        modules = basis.modules
        layers = dict(model.named_modules())
        missing = [module.name for module in modules if module.name not in layers]
        if missing:
            raise ValueError(f"the model has no module {missing[0]!r}, which the basis has ({len(missing)} in all)")
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        self.ranks = [min(rank, module.rank) if rank else module.rank for module in modules]
        self.deltas = nn.ParameterList()
        self._hooks = []
        for index, (module, own) in enumerate(zip(modules, self.ranks)):
            layer = layers[module.name]
            place = next(layer.parameters())
            left, sigma, right = (torch.from_numpy(values) for values in basis.factors(index))
            left, sigma, right = left[:, :own], sigma[:own], right[:own]
            if relative:
                left = left * sigma
            delta = nn.Parameter(torch.zeros(own, device=place.device, dtype=torch.float32))
            self.deltas.append(delta)
            self.register_buffer(f"sigma_{index}", sigma.to(place.device), persistent=False)
            forward = _Direction(layer, left.to(place), right.to(place), delta)
            self._hooks.append(layer.register_forward_hook(forward))

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        return iter(self.deltas)

    @property
    def numbers(self) -> torch.Tensor:
        """delta of all modules, in the basis' order."""
        parts = [
            delta.detach() * (getattr(self, f"sigma_{i}") if self._relative else 1) for i, delta in enumerate(self.deltas)]
        return torch.cat(parts)

    def adapter(self) -> CompactAdapter:
        """What has been trained so far, as a compact adapter."""
        values: numpy.ndarray[Any, Any] = self.numbers.float().cpu().numpy()
        return CompactAdapter.create(self._basis, values, max(self.ranks))

    def load(self, adapter: CompactAdapter) -> None:
        """Goes on from a compact adapter of the same basis and ranks."""
        values = torch.from_numpy(adapter.deltas)
        if len(values) != sum(self.ranks):
            raise ValueError(f"the adapter has {len(values)} numbers; expected {sum(self.ranks)}")
        with torch.no_grad():
            for i, (delta, part) in enumerate(zip(self.deltas, values.split(self.ranks))):
                delta.copy_(part.to(delta.device) / (getattr(self, f"sigma_{i}") if self._relative else 1))

    def save(self, path: Path) -> None:
        """Writes the compact adapter's file."""
        self.adapter().save(path)

    def remove(self) -> None:
        """Takes the hooks off: the model is what it was."""
        for hook in self._hooks:
            hook.remove()


class _Direction:
    """Adds left (delta * (right x)) to what a layer gives."""

    def __init__(self, layer: nn.Module, left: torch.Tensor, right: torch.Tensor, delta: nn.Parameter) -> None:
        self.left, self.right, self.delta = left, right, delta
        self.convolution = None
        if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            if layer.groups != 1:
                raise ValueError("a convolution in groups has no compact adapter")
            spatial = layer.weight.dim() - 2
            self.right = right.reshape(len(right), *layer.weight.shape[1:])
            self.left = left.reshape(*left.shape, *[1] * spatial)
            self.convolution = layer
            self.function = (nn.functional.conv1d, nn.functional.conv2d, nn.functional.conv3d)[spatial - 1]

    def __call__(self, layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        x = inputs[0]
        if self.convolution is None:
            inner = nn.functional.linear(x, self.right) * self.delta.to(x.dtype)
            return output + nn.functional.linear(inner, self.left)
        c = self.convolution
        inner = self.function(x, self.right, None, c.stride, c.padding, c.dilation)
        inner = inner * self.delta.to(x.dtype).reshape(-1, *[1] * (inner.dim() - 2))
        return output + self.function(inner, self.left)
