"""Adapters in memory: tensors without a copy, and the files that hosts load."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from ctypes import byref, c_char_p, c_int, c_void_p
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Union

import numpy

from ._library import CModule, CSaveOptions, CTensor, Handle, Owner, call, encode, load_library

Path = Union[str, "os.PathLike[str]"]


class Format(IntEnum):
    """What `Adapter.save` writes."""

    BY_SUFFIX = -1  #: what the suffix of the path says; a path without one is a PEFT folder
    PEFT = 0  #: a folder: adapter_config.json and adapter_model.safetensors
    SAFETENSORS = 1  #: one file with the same keys, layout and origin in its metadata
    ONNX = 2  #: one file: the tensors as initializers
    DIFFUSERS = 3  #: one file for a diffusers pipeline
    KOHYA = 4  #: one file with kohya's names, for ComfyUI, A1111, Forge and diffusers
    GGUF = 5  #: one file for llama.cpp
    ONNX_ADAPTER = 6  #: one file for ONNX Runtime's LoraAdapter
    NPZ = 7  #: one file for numpy.load


class DType(IntEnum):
    """Element types of written files."""

    FLOAT32 = 0
    FLOAT16 = 1
    BFLOAT16 = 2
    Q8_0 = 3  #: GGUF alone


@dataclass(frozen=True)
class Module:
    """One adapted module of the base model; the update of its weight is (alpha / rank) * B @ A."""

    name: str
    layer: int | None
    rank: int
    inputs: int
    outputs: int
    alpha: float

    @classmethod
    def _of(cls, c: CModule) -> Module:
        layer = None if c.layer < 0 else c.layer
        return cls(c.name.decode(), layer, c.rank, c.inputs, c.outputs, c.alpha)


class Tensor:
    """A float32 tensor in the library's memory, which it keeps alive.

    `numpy.asarray(tensor)` and `torch.from_dlpack(tensor)` look at that memory without a copy. The NumPy view is
    read-only; PyTorch has no such notion, so clone() before writing to its tensor.
    """

    def __init__(self, handle: Handle, sample: int, index: int) -> None:
        c = CTensor()
        call("loragen_adapters_tensor", handle.pointer, sample, index, byref(c))
        self._handle = handle
        self._place = (sample, index)
        self._address = c.data
        #: The PEFT key, "base_model.model.<module>.lora_A.weight".
        self.name: str = c.name.decode()
        #: lora_A [r, in], lora_B [out, r].
        self.shape: tuple[int, ...] = tuple(c.shape[: c.rank])

    @property
    def dtype(self) -> numpy.dtype[Any]:
        return numpy.dtype(numpy.float32)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return {"version": 3, "shape": self.shape, "typestr": "<f4", "data": (self._address, True)}

    def numpy(self) -> numpy.ndarray[Any, Any]:
        """A read-only view."""
        return numpy.asarray(self)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)  # kDLCPU

    def __dlpack__(self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None,
                   copy: bool | None = None) -> Any:
        if stream is not None:
            raise BufferError("a tensor on the CPU has no stream")
        if dl_device is not None and tuple(dl_device) != (1, 0):
            raise BufferError(f"the tensor is on the CPU, not on device {dl_device}")
        if copy:
            raise BufferError("the tensor is handed over without a copy; copy it afterwards")
        managed = c_void_p()
        call("loragen_adapters_dlpack", byref(managed), self._handle.pointer, *self._place)
        return _capsule(managed)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"Tensor({self.name!r}, shape={self.shape})"


class _DLManagedTensor(ctypes.Structure):
    _fields_ = [("tensor", ctypes.c_uint8 * 48), ("context", c_void_p), ("deleter", ctypes.CFUNCTYPE(None, c_void_p))]


_capsule_is_valid = ctypes.PYFUNCTYPE(c_int, c_void_p, c_char_p)(("PyCapsule_IsValid", ctypes.pythonapi))
_capsule_pointer = ctypes.PYFUNCTYPE(c_void_p, c_void_p, c_char_p)(("PyCapsule_GetPointer", ctypes.pythonapi))
_capsule_new = ctypes.PYFUNCTYPE(ctypes.py_object, c_void_p, c_char_p, c_void_p)(
    ("PyCapsule_New", ctypes.pythonapi)
)
_UNUSED = b"dltensor"  # a consumer renames the capsule to "used_dltensor" and calls the deleter itself


def _drop(capsule: int) -> None:
    if _capsule_is_valid(capsule, _UNUSED):
        address = _capsule_pointer(capsule, _UNUSED)
        _DLManagedTensor.from_address(address).deleter(address)


_drop_capsule = ctypes.PYFUNCTYPE(None, c_void_p)(_drop)


def _capsule(managed: c_void_p) -> Any:
    return _capsule_new(managed, _UNUSED, ctypes.cast(_drop_capsule, c_void_p))


class Adapter(Mapping):  # type: ignore[type-arg]
    """One adapter: a mapping from PEFT keys to tensors, in the order of the layout."""

    def __init__(self, handle: Handle, sample: int) -> None:
        self._handle = handle
        self._sample = sample
        library = load_library()
        count = library.loragen_adapters_tensor_count(handle.pointer)
        tensors = (Tensor(handle, sample, index) for index in range(count))
        self._tensors: dict[str, Tensor] = {tensor.name: tensor for tensor in tensors}

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def arrays(self) -> dict[str, numpy.ndarray[Any, Any]]:
        """All tensors as read-only NumPy views."""
        return {name: tensor.numpy() for name, tensor in self.items()}

    @property
    def modules(self) -> list[Module]:
        return _modules(self._handle)

    @property
    def origin(self) -> dict[str, Any] | None:
        """Where the adapter comes from: generator, method, seed, condition, nearest training adapters."""
        text = load_library().loragen_adapters_origin(self._handle.pointer, self._sample)
        return None if text is None else json.loads(text)

    def save(self, path: Path, format: Format = Format.BY_SUFFIX, *, dtype: DType = DType.FLOAT32,
             keep_alpha: bool = False, base: Path | None = None, peft_names: bool = False, portable: bool = False,
             layers: int = 0, model: str | None = None) -> None:
        """Writes the adapter: a PEFT folder, or one file that appears whole or not at all.

        `keep_alpha` keeps the layout's alpha in the file, instead of alpha = rank with the scale inside B.
        `base` is for GGUF: the base model's GGUF file, config.json or folder. `peft_names` is for ONNX_ADAPTER: PEFT's
        keys and shapes instead of Olive's. `portable` writes only what every host of language models loads and
        computes alike, with zeros in layers that have no module; `layers` is how many the base model has, 0 as many as
        the adapter reaches. `model` is for KOHYA: "sd1", "sdxl" or "flux"; None takes what the modules say.
        """
        options = save_options(dtype, keep_alpha, base, peft_names, portable, layers, model)
        call("loragen_adapters_save", self._handle.pointer, self._sample, encode(path, "path"), int(format),
             byref(options))

    def __repr__(self) -> str:
        return f"Adapter({len(self)} tensors)"


def save_options(dtype: DType, keep_alpha: bool, base: Path | None, peft_names: bool, portable: bool, layers: int,
                 model: str | None) -> CSaveOptions:
    """The options of `Adapter.save` as C has them."""
    if not -(2**31) <= layers < 2**31:  # ctypes would cut it without a word
        raise ValueError(f"layers is {layers}; expected the base model's number of layers")
    return CSaveOptions(
        dtype=int(dtype), keep_alpha=int(keep_alpha), base=encode(base, "base"), naming=int(peft_names),
        portable=int(portable), layers=layers, model=encode(model, "model"))


def _modules(handle: Handle) -> list[Module]:
    modules = []
    for index in range(load_library().loragen_adapters_module_count(handle.pointer)):
        c = CModule()
        call("loragen_adapters_module", handle.pointer, index, byref(c))
        modules.append(Module._of(c))
    return modules


class Adapters(Owner, Sequence):  # type: ignore[type-arg]
    """One or more adapters of one layout: what a generator drew, or what a file holds."""

    def __init__(self, path: Path, base: Path | None = None) -> None:
        """Reads an adapter: a PEFT folder, or a file in any format that this library writes.

        `base` names the base model of a GGUF file of another origin, as in `Adapter.save`.
        """
        self._handle = Handle("loragen_adapters_free", "loragen_adapters_open_for", encode(path, "path"),
                              encode(base, "base"))

    @classmethod
    def _of(cls, handle: Handle) -> Adapters:
        adapters = cls.__new__(cls)
        adapters._handle = handle
        return adapters

    def __len__(self) -> int:
        return int(load_library().loragen_adapters_count(self._pointer))

    def __getitem__(self, sample: Any) -> Any:
        if isinstance(sample, slice):
            return [self[index] for index in range(*sample.indices(len(self)))]
        index = sample + len(self) if sample < 0 else sample
        if not 0 <= index < len(self):
            raise IndexError(f"sample {sample} of {len(self)}")
        return Adapter(self._open, index)

    @property
    def modules(self) -> list[Module]:
        return _modules(self._open)

    def __repr__(self) -> str:
        return f"Adapters({len(self)} samples)" if self._handle else "Adapters(closed)"
