"""Trained generators."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Mapping, Sequence
from ctypes import byref, pointer
from dataclasses import dataclass
from typing import Any, Union

import numpy

from ._adapters import Adapters, DType, Format, Module, save_options
from ._compact import Basis, CompactAdapter
from ._library import (
    CCondition, CConditionInfo, CFileOptions, CGeneratorInfo, CGeneratorOptions, CModule, CRequest, Handle, Owner, call,
    decode, encode, load_library,
)
from ._encoder import Encoder
from ._pictures import ImageEncoder
from ._progress import Callback, progress_function

_CONDITIONS = {0: "none", 1: "vector", 2: "bits", 3: "parts"}


@dataclass(frozen=True)
class ConditionPart:
    """One part of the condition that a generator takes."""

    name: str
    #: "vector", "bits", "text" or "images".
    kind: str
    #: Numbers of a vector, bits, numbers of the encoder.
    length: int
    #: Of texts and images: the encoder that they go through.
    encoder: dict[str, Any] | None = None


class Encoders:
    """Encoders that a caller gives, opened or as folders."""

    def __init__(
        self, texts: Encoder | str | os.PathLike[str] | None, pictures: ImageEncoder | str | os.PathLike[str] | None,
    ) -> None:
        self.texts = texts if texts is None or isinstance(texts, Encoder) else Encoder(texts)
        self.pictures = pictures if pictures is None or isinstance(pictures, ImageEncoder) else ImageEncoder(pictures)
        #: Handles; None for what was not given.
        self.pointers = tuple(
            None if encoder is None else encoder._pointer.pointer for encoder in (self.texts, self.pictures))


#: A vector, or values for each part by its name: numbers, bits, a text, a picture (a path, or a file's bytes), or a list of
#: texts or of pictures, whose mean counts.
Condition = Union[Sequence[float], "numpy.ndarray[Any, Any]", Mapping[str, Any]]


class Generator(Owner):
    """A trained generator; many threads may use one at once."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        encoder: Encoder | str | os.PathLike[str] | None = None,
        image_encoder: ImageEncoder | str | os.PathLike[str] | None = None,
    ) -> None:
        """Opens a generator file, which is mapped and must not change while this lives.

        A generator that is asked in words or by pictures takes the `encoder` or `image_encoder` that it was trained with,
        opened or as a folder; without it, the vectors that it would make.
        """
        encoders = Encoders(encoder, image_encoder)
        options = CGeneratorOptions(encoder=encoders.pointers[0], image_encoder=encoders.pointers[1])
        self._handle = Handle(
            "loragen_generator_free", "loragen_generator_open_with", encode(path, "path"), byref(options))
        info = CGeneratorInfo()
        call("loragen_generator_describe", self._pointer, byref(info))
        self.method: str = info.method.decode()
        self.preset: str | None = decode(info.preset)
        #: As the adapters of the corpus name it.
        self.base_model: str | None = decode(info.base_model)
        #: "none", "vector", "bits", or "parts" for several: `conditions` has them.
        self.condition_kind: str = _CONDITIONS.get(info.condition_kind, "unknown")
        #: Numbers, or bits, of all parts.
        self.condition_length: int = info.condition_length
        #: The parts of a condition.
        self.conditions: list[ConditionPart] = []
        for index in range(info.condition_count):
            part = CConditionInfo()
            call("loragen_generator_condition", self._pointer, index, byref(part))
            about = None if part.encoder is None else json.loads(part.encoder)
            self.conditions.append(ConditionPart(part.name.decode(), part.kind.decode(), part.length, about))
        self.module_count: int = info.module_count
        self.tensor_count: int = info.tensor_count
        #: Numbers in one adapter.
        self.value_count: int = info.value_count
        #: What generate() uses unless told otherwise; None for methods without a sampler.
        self.sampler: str | None = decode(info.sampler)
        self.steps: int = info.steps
        self.guidance: float = info.guidance
        #: SHA-256 of the file's tensors and settings.
        self.hash: str = info.hash.decode()

    @property
    def modules(self) -> list[Module]:
        modules = []
        for index in range(self.module_count):
            c = CModule()
            call("loragen_generator_module", self._pointer, index, byref(c))
            modules.append(Module._of(c))
        return modules

    @property
    def report(self) -> dict[str, Any]:
        """What was measured on held-out tasks when the generator was trained."""
        report: dict[str, Any] = json.loads(load_library().loragen_generator_report(self._pointer))
        return report

    def report_text(self, *, brief: bool = False) -> str:
        """The same for people; `brief`: the skills and the verdict alone."""
        text: bytes = load_library().loragen_generator_report_text(self._pointer, int(brief))
        return text.decode()

    def check(self) -> None:
        """Reads all of the file and compares it with its hash, which opening does not."""
        call("loragen_generator_check", self._pointer)

    def generate(
        self,
        condition: Condition | None = None,
        *,
        bits: str | None = None,
        text: str | Sequence[str] | None = None,
        images: Sequence[Any] | None = None,
        seed: int = 0,
        samples: int = 1,
        steps: int | None = None,
        guidance: float | None = None,
        sampler: str | None = None,
        basis: Basis | None = None,
        progress: Callback | None = None,
    ) -> Adapters:
        """Draws adapters for a condition: generate_lora().

        `text` is the task in words and `images` are pictures of it (paths, or files' bytes), for a generator with an
        encoder of them; the mean of several counts. The same condition and seed give the same bytes; sample i depends on the seed and on i alone. `guidance` 0
        ignores the condition, 1 follows it, more exaggerates it. `sampler` is "ddpm", "ddim" or "dpm-solver++". What
        is left out is as the generator was trained for. A generator of compact adapters needs the `basis` of their base model.
        """
        request = _request(self.conditions, _asked(condition, text, images), bits, seed, samples, steps, guidance, sampler, basis)
        with progress_function(progress) as function:
            request.progress = function
            handle = Handle("loragen_adapters_free", "generate_lora", self._pointer, byref(request))
        return Adapters._of(handle)

    @property
    def is_compact(self) -> bool:
        """Whether it makes compact adapters, which need a basis to become others."""
        return bool(load_library().loragen_generator_is_compact(self._pointer))

    def generate_compact(
        self, condition: Condition | None = None, *, bits: str | None = None,
        text: str | Sequence[str] | None = None, images: Sequence[Any] | None = None, seed: int = 0, sample: int = 0, steps: int | None = None, guidance: float | None = None,
        sampler: str | None = None,
    ) -> CompactAdapter:
        """Draws one compact adapter; the basis is not needed. Options are those of `generate`."""
        request = _request(self.conditions, _asked(condition, text, images), bits, seed, 1, steps, guidance, sampler)
        with progress_function(None) as function:
            request.progress = function
            handle = Handle("loragen_compact_free", "loragen_generate_compact", self._pointer, byref(request), sample)
        return CompactAdapter._of(handle)

    def generate_file(
        self,
        path: str | os.PathLike[str],
        condition: Condition | None = None,
        *,
        format: Format = Format.BY_SUFFIX,
        dtype: DType = DType.FLOAT32,
        keep_alpha: bool = False,
        base: str | os.PathLike[str] | None = None,
        peft_names: bool = False,
        portable: bool = False,
        layers: int = 0,
        model: str | None = None,
        memory_limit: int = 0,
        bits: str | None = None,
        text: str | Sequence[str] | None = None,
        images: Sequence[Any] | None = None,
        seed: int = 0,
        sample: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
        sampler: str | None = None,
        basis: Basis | None = None,
        progress: Callback | None = None,
    ) -> None:
        """Draws one adapter and writes it while it is made: loragen_generate_file().

        The bytes are those of `generate` and `Adapter.save`, whose options these are. The call holds at most `memory_limit` bytes beside the
        generator's file (0: no limit), or raises.
        """
        request = _request(self.conditions, _asked(condition, text, images), bits, seed, 1, steps, guidance, sampler, basis)
        save = save_options(dtype, keep_alpha, base, peft_names, portable, layers, model)
        options = CFileOptions(
            format=int(format), save=pointer(save),
            sample=_in_range("sample", sample, 0, 2**31 - 1),
            memory_limit=_in_range("memory_limit", memory_limit, 0, 2**64 - 1))
        with progress_function(progress) as function:
            request.progress = function
            call("loragen_generate_file", self._pointer, byref(request), encode(path, "path"), byref(options))

    def __repr__(self) -> str:
        return f"Generator({self.method!r}, {self.condition_length} {self.condition_kind}, {self.value_count} values)"


def _request(
    parts: Sequence[ConditionPart], condition: Condition | None, bits: str | None, seed: int, samples: int,
    steps: int | None, guidance: float | None, sampler: str | None, basis: Basis | None = None,
) -> CRequest:
    request = CRequest(
        bits=encode(bits, "bits"),
        seed=_in_range("seed", seed, 0, 2**64 - 1),
        samples=_in_range("samples", samples, 1, 2**31 - 1),
        steps=0 if steps is None else _in_range("steps", steps, 1, 2**31 - 1),
        guidance=-1.0 if guidance is None else _at_least_zero("guidance", guidance),
        sampler=encode(sampler, "sampler"),
    )
    if basis is not None:
        request.basis = basis._pointer.pointer
        request.basis_kept = basis
    if isinstance(condition, Mapping):
        values = [
            _value(parts, name, item) for name, value in condition.items() for item in _several(value)]
        request.conditions = (CCondition * len(values))(*(value for value, _ in values))
        request.condition_count = len(values)
        request.kept = values
    elif condition is not None:
        vector = _vector(condition, "condition")
        request.condition = vector.ctypes.data_as(ctypes.c_void_p)
        request.condition_length = vector.size
        request.kept = vector
    return request


def _vector(values: Any, name: str) -> numpy.ndarray[Any, Any]:
    vector = numpy.ascontiguousarray(values, dtype=numpy.float32)
    if vector.ndim != 1:
        raise ValueError(f"{name} must have one dimension, not shape {vector.shape}")
    return vector


def _asked(
    condition: Condition | None, text: str | Sequence[str] | None, images: Sequence[Any] | None,
) -> Condition | None:
    """A condition with the texts and pictures that were given beside it."""
    if text is None and images is None:
        return condition
    if condition is not None and not isinstance(condition, Mapping):
        raise TypeError("text and images go with a condition of parts by name, not with a vector")
    parts: dict[Any, Any] = dict(condition or {})
    if text is not None:
        parts[_UNNAMED["text"]] = text
    if images is not None:
        parts[_UNNAMED["images"]] = list(images)
    return parts


#: Keys of parts that the caller did not name.
_UNNAMED = {"text": ("text",), "images": ("images",)}


def _several(value: Any) -> Sequence[Any]:
    """The values of a part, of which texts and pictures may be several."""
    is_list = isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray))
    return value if is_list and value and isinstance(value[0], (str, bytes, bytearray, os.PathLike)) else [value]


def _value(parts: Sequence[ConditionPart], name: Any, value: Any) -> tuple[CCondition, Any]:
    """A value for a part, and what it points into."""
    own = None if isinstance(name, tuple) else encode(name, "name")
    kind = name[0] if isinstance(name, tuple) else next((part.kind for part in parts if part.name == name), "bits")
    if not isinstance(value, (str, bytes, bytearray, os.PathLike)):
        vector = _vector(value, str(name))
        return CCondition(own, b"vector", vector.ctypes.data_as(ctypes.c_void_p), vector.size), vector
    if kind == "images" and not isinstance(value, (bytes, bytearray)):
        with open(value, "rb") as file:
            value = file.read()
    content = os.fspath(value) if isinstance(value, os.PathLike) else value
    data = ctypes.create_string_buffer(content.encode() if isinstance(content, str) else bytes(content))
    address = ctypes.cast(data, ctypes.c_void_p)
    return CCondition(own, encode(kind, "kind"), address, len(data) - 1), data


def _in_range(name: str, value: int, low: int, high: int) -> int:
    """ctypes would cut a number that does not fit without a word."""
    if not low <= value <= high:
        raise ValueError(f"{name} must be from {low} to {high}, not {value}")
    return int(value)


def _at_least_zero(name: str, value: float) -> float:
    if not value >= 0:
        raise ValueError(f"{name} must be at least 0, not {value}")
    return float(value)
