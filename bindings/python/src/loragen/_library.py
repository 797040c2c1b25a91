"""The C interface as ctypes sees it: where the library is, its structs, its functions."""

from __future__ import annotations

import ctypes
import json
import os
import sys
from ctypes import (
    CDLL,
    CFUNCTYPE,
    POINTER,
    Structure,
    byref,
    c_char_p,
    c_double,
    c_float,
    c_int32,
    c_int64,
    c_size_t,
    c_uint64,
    c_void_p,
)
from pathlib import Path
from typing import Any, TypeVar

from ._errors import error_for

NAME = "libloragen.so.0"


class CTensor(Structure):
    _fields_ = [
        ("name", c_char_p), ("shape", POINTER(c_int64)), ("rank", c_int32), ("dtype", c_int32), ("data", c_void_p),
        ("count", c_size_t),
    ]


class CModule(Structure):
    _fields_ = [
        ("name", c_char_p), ("layer", c_int32), ("rank", c_int32), ("inputs", c_int64), ("outputs", c_int64),
        ("alpha", c_double),
    ]


class CCorpusEntry(Structure):
    _fields_ = [
        ("path", c_char_p), ("task", c_char_p), ("run", c_char_p), ("text", c_char_p), ("bits", c_char_p),
        ("condition", POINTER(c_float)), ("condition_length", c_size_t), ("split", c_int32),
    ]


class Sized(Structure):
    """A struct that starts with its own size."""

    def __init__(self, **values: Any) -> None:
        super().__init__(struct_size=ctypes.sizeof(type(self)), **values)


class CProgress(Structure):
    _fields_ = [
        ("struct_size", c_size_t), ("stage", c_char_p), ("step", c_int64), ("steps", c_int64), ("loss", c_double),
        ("validation_skill", c_double), ("best_skill", c_double), ("steps_per_second", c_double),
        ("seconds_left", c_double),
    ]


ProgressCallback = CFUNCTYPE(c_int32, POINTER(CProgress), c_void_p)
ProblemCallback = CFUNCTYPE(c_int32, c_char_p, c_void_p)


class CTrainingOptions(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("method", c_char_p), ("preset", c_char_p), ("settings", c_char_p),
        ("seed", c_uint64), ("memory_limit", c_uint64), ("checkpoint", c_char_p), ("checkpoint_seconds", c_double),
        ("progress", ProgressCallback), ("payload", c_void_p), ("encoder", c_void_p), ("image_encoder", c_void_p),
        ("condition", c_char_p),
    ]


class CGeneratorOptions(Sized):
    _fields_ = [("struct_size", c_size_t), ("encoder", c_void_p), ("image_encoder", c_void_p)]


class CGeneratorInfo(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("method", c_char_p), ("preset", c_char_p), ("base_model", c_char_p),
        ("condition_kind", c_int32), ("condition_length", c_size_t), ("module_count", c_size_t),
        ("tensor_count", c_size_t), ("value_count", c_size_t), ("sampler", c_char_p), ("steps", c_int32),
        ("guidance", c_float), ("hash", c_char_p), ("condition_count", c_size_t),
    ]


class CConditionInfo(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("name", c_char_p), ("kind", c_char_p), ("length", c_size_t), ("encoder", c_char_p),
    ]


class CCondition(ctypes.Structure):
    _fields_ = [("name", c_char_p), ("kind", c_char_p), ("data", c_void_p), ("size", c_size_t)]


class CRequest(Sized):
    kept: object = None
    """What the condition points into."""

    _fields_ = [
        ("struct_size", c_size_t), ("condition", c_void_p), ("condition_length", c_size_t), ("bits", c_char_p),
        ("seed", c_uint64), ("samples", c_int32), ("steps", c_int32), ("guidance", c_float), ("sampler", c_char_p),
        ("progress", ProgressCallback), ("payload", c_void_p), ("basis", c_void_p),
        ("conditions", POINTER(CCondition)), ("condition_count", c_size_t),
    ]


class CSaveOptions(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("dtype", c_int32), ("keep_alpha", c_int32), ("base", c_char_p),
        ("naming", c_int32), ("portable", c_int32), ("layers", c_int32), ("model", c_char_p),
    ]


class CDoctorOptions(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("memory_limit", c_uint64), ("progress", ProgressCallback), ("payload", c_void_p),
    ]


class CImportOptions(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("seed", c_uint64), ("group", c_size_t), ("rank", c_int32),
        ("keep_checkpoints", c_int32), ("dry_run", c_int32), ("same_base", POINTER(c_char_p)),
        ("same_base_count", c_size_t),
    ]


class CConvertOptions(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("save", POINTER(CSaveOptions)), ("lossy", c_int32), ("note", ProblemCallback),
        ("payload", c_void_p), ("lora_only", c_int32), ("rank", c_int32),
    ]


class CApplyOptions(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("mode", c_int32), ("scale", c_double), ("base", c_char_p),
        ("note", ProblemCallback), ("payload", c_void_p), ("lora_only", c_int32), ("basis", c_char_p),
    ]


class CBasisOptions(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("method", c_char_p), ("rank", c_int32), ("targets", c_char_p), ("prefix", c_char_p),
        ("tolerance", c_double), ("dtype", c_int32), ("memory_limit", c_uint64), ("checkpoint", c_char_p),
        ("pivots", c_char_p), ("progress", ProgressCallback), ("payload", c_void_p),
    ]


class CExpandOptions(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("rank", c_int32), ("limit", c_double), ("save", POINTER(CSaveOptions)),
    ]


class CEncoderOptions(Sized):
    _fields_ = [("struct_size", c_size_t), ("tokenizer", c_char_p)]


class CFileOptions(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("format", c_int32), ("dtype", c_int32), ("keep_alpha", c_int32), ("sample", c_int32),
        ("memory_limit", c_uint64), ("save", POINTER(CSaveOptions)),
    ]


# name: (result, arguments). A status is checked by `call`.
_STATUS = c_int32
class CPicture(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("path", c_char_p), ("file", c_char_p), ("file_size", c_size_t), ("rgb", c_void_p),
        ("width", c_int64), ("height", c_int64), ("stride", c_int64), ("as_stored", c_int32), ("drop_alpha", c_int32),
        ("pixel_limit", c_int64),
    ]


_SIGNATURES = {
    "loragen_version": (c_char_p, []),
    "loragen_names": (c_char_p, []),
    "loragen_last_error": (c_char_p, []),
    "loragen_set_threads": (_STATUS, [c_int32]),
    "loragen_threads": (c_int32, []),
    "loragen_corpus_open": (_STATUS, [POINTER(c_void_p), c_char_p]),
    "loragen_corpus_check": (_STATUS, [c_char_p, ProblemCallback, c_void_p]),
    "loragen_corpus_count": (c_size_t, [c_void_p]),
    "loragen_corpus_entry_at": (_STATUS, [c_void_p, c_size_t, POINTER(CCorpusEntry)]),
    "loragen_corpus_init": (_STATUS, [c_char_p, c_uint64]),
    "loragen_corpus_unpack": (_STATUS, [c_void_p, c_char_p]),
    "loragen_corpus_free": (None, [c_void_p]),
    "loragen_train": (_STATUS, [c_void_p, c_char_p, POINTER(CTrainingOptions)]),
    "loragen_generator_open": (_STATUS, [POINTER(c_void_p), c_char_p]),
    "loragen_generator_open_with": (_STATUS, [POINTER(c_void_p), c_char_p, POINTER(CGeneratorOptions)]),
    "loragen_generator_describe": (_STATUS, [c_void_p, POINTER(CGeneratorInfo)]),
    "loragen_generator_condition": (_STATUS, [c_void_p, c_size_t, POINTER(CConditionInfo)]),
    "loragen_generator_module": (_STATUS, [c_void_p, c_size_t, POINTER(CModule)]),
    "loragen_generator_check": (_STATUS, [c_void_p]),
    "loragen_generator_report_text": (c_char_p, [c_void_p, c_int32]),
    "loragen_generator_report": (c_char_p, [c_void_p]),
    "loragen_generator_free": (None, [c_void_p]),
    "generate_lora": (_STATUS, [POINTER(c_void_p), c_void_p, POINTER(CRequest)]),
    "loragen_generate_file": (_STATUS, [c_void_p, POINTER(CRequest), c_char_p, POINTER(CFileOptions)]),
    "loragen_adapters_open": (_STATUS, [POINTER(c_void_p), c_char_p]),
    "loragen_adapters_open_for": (_STATUS, [POINTER(c_void_p), c_char_p, c_char_p]),
    "loragen_adapters_count": (c_size_t, [c_void_p]),
    "loragen_adapters_tensor_count": (c_size_t, [c_void_p]),
    "loragen_adapters_module_count": (c_size_t, [c_void_p]),
    "loragen_adapters_tensor": (_STATUS, [c_void_p, c_size_t, c_size_t, POINTER(CTensor)]),
    "loragen_adapters_module": (_STATUS, [c_void_p, c_size_t, POINTER(CModule)]),
    "loragen_adapters_origin": (c_char_p, [c_void_p, c_size_t]),
    "loragen_adapters_dlpack": (_STATUS, [POINTER(c_void_p), c_void_p, c_size_t, c_size_t]),
    "loragen_adapters_save": (_STATUS, [c_void_p, c_size_t, c_char_p, c_int32, POINTER(CSaveOptions)]),
    "loragen_adapters_free": (None, [c_void_p]),
    "loragen_convert": (_STATUS, [c_char_p, c_char_p, c_int32, POINTER(CConvertOptions)]),
    "loragen_apply": (_STATUS, [c_char_p, c_char_p, c_char_p, POINTER(CApplyOptions)]),
    "loragen_verify": (_STATUS, [POINTER(c_void_p), c_char_p, c_char_p, c_char_p]),
    "loragen_verification_json": (c_char_p, [c_void_p]),
    "loragen_verification_text": (c_char_p, [c_void_p]),
    "loragen_verification_free": (None, [c_void_p]),
    "loragen_basis_compute": (_STATUS, [c_char_p, c_char_p, POINTER(CBasisOptions)]),
    "loragen_basis_open": (_STATUS, [POINTER(c_void_p), c_char_p]),
    "loragen_basis_check": (_STATUS, [c_void_p, c_char_p]),
    "loragen_basis_module_count": (c_size_t, [c_void_p]),
    "loragen_basis_module": (_STATUS, [c_void_p, c_size_t, POINTER(CModule)]),
    "loragen_basis_columns": (c_size_t, [c_void_p, c_size_t]),
    "loragen_basis_factors": (_STATUS, [c_void_p, c_size_t, c_void_p, c_void_p, c_void_p]),
    "loragen_basis_json": (c_char_p, [c_void_p]),
    "loragen_basis_free": (None, [c_void_p]),
    "loragen_compact_create": (_STATUS, [POINTER(c_void_p), c_void_p, c_void_p, c_size_t, c_int32]),
    "loragen_compact_open": (_STATUS, [POINTER(c_void_p), c_char_p]),
    "loragen_compact_save": (_STATUS, [c_void_p, c_char_p, c_int32]),
    "loragen_compact_save_psoft": (_STATUS, [c_void_p, c_char_p]),
    "loragen_compact_open_psoft": (_STATUS, [POINTER(c_void_p), c_char_p, c_void_p]),
    "loragen_compact_deltas": (POINTER(c_float), [c_void_p]),
    "loragen_compact_count": (c_size_t, [c_void_p]),
    "loragen_compact_json": (c_char_p, [c_void_p]),
    "loragen_compact_expand": (_STATUS, [POINTER(c_void_p), c_void_p, c_void_p, POINTER(CExpandOptions)]),
    "loragen_compact_expand_file": (_STATUS, [c_void_p, c_void_p, c_char_p, c_int32, POINTER(CExpandOptions)]),
    "loragen_compact_project": (
        _STATUS, [POINTER(c_void_p), c_void_p, c_size_t, c_void_p, c_double, POINTER(c_double)]),
    "loragen_compact_truncate": (_STATUS, [POINTER(c_void_p), c_void_p, c_size_t, POINTER(c_double)]),
    "loragen_generator_is_compact": (c_int32, [c_void_p]),
    "loragen_generate_compact": (_STATUS, [POINTER(c_void_p), c_void_p, POINTER(CRequest), c_int32]),
    "loragen_compact_free": (None, [c_void_p]),
    "loragen_image_encoder_open": (_STATUS, [POINTER(c_void_p), c_char_p]),
    "loragen_image_encoder_width": (c_size_t, [c_void_p]),
    "loragen_image_encoder_state_width": (c_size_t, [c_void_p]),
    "loragen_image_encoder_layers": (c_size_t, [c_void_p]),
    "loragen_image_encoder_json": (c_char_p, [c_void_p]),
    "loragen_image_encoder_encode": (_STATUS, [c_void_p, POINTER(POINTER(CPicture)), c_size_t, c_void_p]),
    "loragen_image_encoder_states": (
        _STATUS, [c_void_p, POINTER(CPicture), c_int32, c_void_p, c_size_t, POINTER(c_size_t)]),
    "loragen_image_encoder_free": (None, [c_void_p]),
    "loragen_encoder_open": (_STATUS, [POINTER(c_void_p), c_char_p, POINTER(CEncoderOptions)]),
    "loragen_encoder_width": (c_size_t, [c_void_p]),
    "loragen_encoder_state_width": (c_size_t, [c_void_p]),
    "loragen_encoder_layers": (c_size_t, [c_void_p]),
    "loragen_encoder_json": (c_char_p, [c_void_p]),
    "loragen_encoder_encode": (_STATUS, [c_void_p, POINTER(c_char_p), c_size_t, c_void_p]),
    "loragen_encoder_states": (_STATUS, [POINTER(c_void_p), c_void_p, c_char_p, c_int32]),
    "loragen_encoder_free": (None, [c_void_p]),
    "loragen_states_count": (c_size_t, [c_void_p]),
    "loragen_states_ids": (POINTER(c_int32), [c_void_p]),
    "loragen_states_values": (POINTER(c_float), [c_void_p]),
    "loragen_states_pooled": (POINTER(c_float), [c_void_p]),
    "loragen_states_free": (None, [c_void_p]),
    "loragen_tokenizer_open": (_STATUS, [POINTER(c_void_p), c_char_p]),
    "loragen_tokenizer_encode": (_STATUS, [c_void_p, c_char_p, c_int32, c_void_p, c_size_t, POINTER(c_size_t)]),
    "loragen_tokenizer_free": (None, [c_void_p]),
    "loragen_compare": (_STATUS, [POINTER(c_void_p), c_void_p, c_size_t, c_void_p, c_size_t]),
    "loragen_nearest": (_STATUS, [POINTER(c_void_p), c_void_p, c_size_t, c_char_p, c_size_t]),
    "loragen_corpus_import": (_STATUS, [POINTER(c_void_p), c_char_p, POINTER(CImportOptions)]),
    "loragen_doctor": (_STATUS, [POINTER(c_void_p), c_char_p, POINTER(CDoctorOptions)]),
    "loragen_analysis_json": (c_char_p, [c_void_p]),
    "loragen_analysis_text": (c_char_p, [c_void_p]),
    "loragen_analysis_svg": (c_char_p, [c_void_p]),
    "loragen_analysis_errors": (c_size_t, [c_void_p]),
    "loragen_analysis_free": (None, [c_void_p]),
}

_library: CDLL | None = None


def load_library(path: str | os.PathLike[str] | None = None) -> CDLL:
    """Loads the library, once per process; every other call does it by itself.

    It is `path`, or what the environment variable LORAGEN_LIBRARY names (both absolute), or else the first of: beside this
    package; in the folders of LD_LIBRARY_PATH; in `lib` of this Python, of ~/.local, /usr/local and /opt/loragen; in the
    system's folders. Never one from the working folder.
    """
    global _library
    if _library is not None:
        return _library
    chosen = path or os.environ.get("LORAGEN_LIBRARY")
    if chosen and not os.path.isabs(chosen):
        raise OSError(f"{os.fspath(chosen)}: a relative path; expected the absolute path of {NAME}")
    places = [Path(chosen)] if chosen else [folder / NAME for folder in _folders()]
    where = next((place for place in places if place.exists()), None)
    if where is None:
        raise OSError(
            f"{', '.join(map(str, places))}: no such file. Install the library (scripts/install ~/.local), or set "
            f"LORAGEN_LIBRARY to the absolute path of {NAME}")
    library = CDLL(os.fspath(where))
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    _library = library
    return library


def _folders() -> list[Path]:
    """Where the library is looked for: absolute folders only."""
    given = [Path(folder) for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
    prefixes = [Path(sys.prefix), Path(sys.base_prefix), Path("~/.local").expanduser(), Path("/usr/local"),
                Path("/opt/loragen")]
    system = [Path("/usr/lib") / f"{os.uname().machine}-linux-gnu", Path("/usr/lib64"), Path("/usr/lib")]
    folders = [Path(__file__).resolve().parent, *given, *(prefix / "lib" for prefix in prefixes), *system]
    return list(dict.fromkeys(folder for folder in folders if folder.is_absolute()))


def call(name: str, *arguments: Any) -> None:
    """Calls a function that returns a status; raises if it is not LORAGEN_OK."""
    library = load_library()
    status = getattr(library, name)(*arguments)
    if status != 0:
        raise error_for(status, library.loragen_last_error().decode())


class Handle:
    """Owns a C object, which lives as long as anybody refers to this: views of its memory do."""

    def __init__(self, release: str, make: str, *arguments: Any) -> None:
        self.pointer = c_void_p()
        self._release = getattr(load_library(), release)
        call(make, byref(self.pointer), *arguments)

    @property
    def _as_parameter_(self) -> c_void_p:
        """What ctypes passes on for this, which the call then holds: close() in another thread frees nothing under it."""
        return self.pointer

    def __del__(self) -> None:
        if getattr(self, "pointer", None):
            self._release(self.pointer)


Self = TypeVar("Self", bound="Owner")


class Owner:
    """A Python object with a handle; a context manager that lets go of it at the end.

    The C object itself goes when the last view of its memory has gone.
    """

    _handle: Handle | None

    @property
    def _pointer(self) -> Handle:
        return self._open

    @property
    def _open(self) -> Handle:
        if self._handle is None:
            raise ValueError(f"this {type(self).__name__} is closed")
        return self._handle

    def close(self) -> None:
        """Lets go of the C object; using this object afterwards is a ValueError."""
        self._handle = None

    def __enter__(self: Self) -> Self:
        assert self._open
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def encode(text: str | os.PathLike[str] | None, what: str = "text") -> bytes | None:
    """UTF-8, with the NULs that C would cut at refused."""
    if text is None:
        return None
    encoded = os.fspath(text).encode() if not isinstance(text, str) else text.encode()
    if b"\0" in encoded:
        raise ValueError(f"{what} holds a NUL character: {text!r}")
    return encoded


def decode(text: bytes | None) -> str | None:
    return None if text is None else text.decode()


def version() -> str:
    """The version of the library that is loaded."""
    return str(load_library().loragen_version().decode())


def names() -> dict[str, Any]:
    """What calls can name: methods with their presets, spaces, samplers, kinds of condition, formats, hosts."""
    found: dict[str, Any] = json.loads(load_library().loragen_names())
    return found


def threads() -> int:
    """The most threads that one call uses."""
    return int(load_library().loragen_threads())


def set_threads(count: int) -> None:
    """Sets the most threads that one call uses, 1 to 16; results do not depend on it."""
    call("loragen_set_threads", count)
