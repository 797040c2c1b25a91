"""Adapters from one format to another, and applied to models."""

from __future__ import annotations

from ctypes import byref, pointer
from enum import IntEnum

from ._adapters import DType, Format, Path, save_options
from ._library import CApplyOptions, CConvertOptions, ProblemCallback, call, encode


class Apply(IntEnum):
    """How `apply` changes a model."""

    MERGE = 0  #: weights become weight + scale * update: .safetensors, a folder of them, .onnx
    UNMERGE = 1  #: weight - scale * update: the model before, up to the rounding of its weights
    INJECT = 2  #: .onnx: nodes and initializers beside the weights
    INPUTS = 3  #: .onnx: nodes and optional inputs, for .onnx_adapter files that are given to a run
    REMOVE = 4  #: .onnx: takes out what INJECT or INPUTS put in


def convert(source: Path, target: Path, format: Format = Format.BY_SUFFIX, *, dtype: DType = DType.FLOAT32,
            keep_alpha: bool = False, base: Path | None = None, peft_names: bool = False, portable: bool = False,
            layers: int = 0, model: str | None = None, lossy: bool = False,
            lora_only: bool = False, rank: int = 0) -> list[str]:
    """Writes an adapter in another format; returns what the new file does not have, a sentence each.

    Options are those of `Adapter.save`; `lossy` allows changes of numbers beyond rounding (Q8_0), and
    `lora_only` reads the LoRA part of an adapter that has more, such as a trained head. PEFT's VeRA, LoHa and LoKr become
    LoRA exactly; `rank` cuts each update to the best of that rank.
    """
    save = save_options(dtype, keep_alpha, base, peft_names, portable, layers, model)
    notes: list[str] = []
    note = _noting(notes)
    options = CConvertOptions(save=pointer(save), lossy=int(lossy), note=note,
                              lora_only=int(lora_only), rank=rank)
    call("loragen_convert", encode(source, "source"), encode(target, "target"), int(format), byref(options))
    return notes


def apply(model: Path, adapter: Path | None, target: Path, mode: Apply = Apply.MERGE, *, scale: float = 1.0,
          base: Path | None = None, lora_only: bool = False, basis: Path | None = None) -> list[str]:
    """Applies an adapter in any format to a model's files and writes the model to `target`; returns remarks.

    `adapter` is None for `Apply.REMOVE`. `base` is for an adapter whose format needs it, as in `Adapter.save`;
    `lora_only` uses the LoRA part of an adapter that has more; `basis` is the basis file of a compact adapter.
    """
    notes: list[str] = []
    note = _noting(notes)
    options = CApplyOptions(mode=int(mode), scale=scale, base=encode(base, "base"), note=note,
                            lora_only=int(lora_only), basis=encode(basis, "basis"))
    call("loragen_apply", encode(model, "model"), encode(adapter, "adapter"), encode(target, "target"), byref(options))
    return notes


def _noting(notes: list[str]) -> ProblemCallback:  # type: ignore[valid-type]
    def note(message: bytes, _: int) -> int:
        notes.append(message.decode())
        return 0

    return ProblemCallback(note)
