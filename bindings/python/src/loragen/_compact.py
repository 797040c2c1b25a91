"""Compact adapters: one number per direction of the base model's own weights."""

from __future__ import annotations

import json
from ctypes import byref, c_double, pointer
from typing import Any, Sequence

import numpy

from ._adapters import Adapter, Adapters, DType, Format, Module, Path, save_options
from ._library import CBasisOptions, CExpandOptions, CModule, Handle, Owner, call, encode, load_library
from ._progress import Callback, progress_function


class Basis(Owner):
    """The frozen directions of a base model's weights: W' = W + left @ diag(delta) @ right."""

    def __init__(self, path: Path) -> None:
        """Opens a basis file; it is mapped, not read."""
        self._handle = Handle("loragen_basis_free", "loragen_basis_open", encode(path, "path"))

    @staticmethod
    def compute(base: Path, path: Path, *, method: str = "svfit", rank: int = 16, targets: Sequence[str] = (),
                prefix: str | None = None, tolerance: float = 1e-5, dtype: DType = DType.FLOAT32,
                memory_limit: int = 0, checkpoint: Path | None = None, pivots: Path | None = None,
                progress: Callback | None = None) -> Basis:
        """Computes the basis of the weights at `base`, writes it to `path` and opens it.

        `method` is "svfit" (largest singular triplets) or "loldu" (partial LU with pivots). `rank` 0 takes all
        directions; `targets` are modules by names or last components, all linear layers and convolutions by default.
        With `checkpoint`, a folder, a run that was stopped goes on. `pivots` is a file whose pivots LoLDU takes.
        """
        with progress_function(progress) as function:
            options = CBasisOptions(
                method=encode(method, "method"), rank=rank, targets=encode(",".join(targets) or None, "targets"),
                prefix=encode(prefix, "prefix"), tolerance=tolerance, dtype=int(dtype), memory_limit=memory_limit,
                checkpoint=encode(checkpoint, "checkpoint"), pivots=encode(pivots, "pivots"), progress=function)
            call("loragen_basis_compute", encode(base, "base"), encode(path, "path"), byref(options))
        return Basis(path)

    def check(self, base: Path) -> None:
        """Raises MismatchError unless the weights at `base` are those that the basis was made of."""
        call("loragen_basis_check", self._pointer, encode(base, "base"))

    @property
    def info(self) -> dict[str, Any]:
        """Method, base model, and of each module rank, fingerprint, residual and gap."""
        return json.loads(load_library().loragen_basis_json(self._pointer))

    @property
    def modules(self) -> list[Module]:
        modules = []
        for index in range(load_library().loragen_basis_module_count(self._pointer)):
            c = CModule()
            call("loragen_basis_module", self._pointer, index, byref(c))
            modules.append(Module._of(c))
        return modules

    def factors(self, index: int) -> tuple[numpy.ndarray[Any, Any], numpy.ndarray[Any, Any], numpy.ndarray[Any, Any]]:
        """left [outputs, rank], sigma [rank] and right [rank, columns] of one module."""
        module = self.modules[index]
        columns = load_library().loragen_basis_columns(self._pointer, index)
        left, sigma, right = (
            numpy.empty(shape, numpy.float32)
            for shape in ((module.outputs, module.rank), (module.rank,), (module.rank, columns)))
        call("loragen_basis_factors", self._pointer, index, left.ctypes.data, sigma.ctypes.data, right.ctypes.data)
        return left, sigma, right


class CompactAdapter(Owner):
    """An adapter of one number per direction of a basis."""

    def __init__(self, path: Path) -> None:
        """Reads a compact adapter's file."""
        self._handle = Handle("loragen_compact_free", "loragen_compact_open", encode(path, "path"))

    @classmethod
    def _of(cls, handle: Handle) -> CompactAdapter:
        compact = cls.__new__(cls)
        compact._handle = handle
        return compact

    @classmethod
    def create(cls, basis: Basis, deltas: Any, rank: int = 0) -> CompactAdapter:
        """Of its numbers, module by module in the basis' order; `rank` takes the first directions of each module."""
        values = numpy.ascontiguousarray(deltas, numpy.float32).reshape(-1)
        return cls._of(
            Handle("loragen_compact_free", "loragen_compact_create", basis._pointer, values.ctypes.data, values.size,
                   rank))

    @classmethod
    def project(cls, adapter: Adapter, basis: Basis, least: float = 0.5) -> tuple[CompactAdapter, float]:
        """What of an ordinary adapter the directions hold, and the share of its energy that this is.

        Less than `least` is an UnsupportedError: what was not trained on these directions is at chance there.
        """
        captured = c_double()
        handle = Handle("loragen_compact_free", "loragen_compact_project", adapter._handle.pointer, adapter._sample,
                        basis._pointer, least, byref(captured))
        return cls._of(handle), captured.value

    @classmethod
    def from_psoft(cls, path: Path, basis: Basis) -> CompactAdapter:
        """Reads a PSOFT folder of PEFT that is a diagonal, on the basis of its base model."""
        return cls._of(
            Handle("loragen_compact_free", "loragen_compact_open_psoft", encode(path, "path"), basis._pointer))

    def save_psoft(self, path: Path) -> None:
        """Writes a PSOFT folder, which stock PEFT loads after a full SVD of each weight; svfit up to rank 64."""
        call("loragen_compact_save_psoft", self._pointer, encode(path, "path"))

    def truncated(self, count: int) -> tuple[CompactAdapter, float]:
        """All but the `count` largest numbers of each module at 0, and the share of the energy that is lost."""
        lost = c_double()
        handle = Handle("loragen_compact_free", "loragen_compact_truncate", self._pointer, count, byref(lost))
        return self._of(handle), lost.value

    @property
    def deltas(self) -> numpy.ndarray[Any, Any]:
        """A copy of its numbers, module by module."""
        library = load_library()
        count = library.loragen_compact_count(self._pointer)
        return numpy.ctypeslib.as_array(library.loragen_compact_deltas(self._pointer), (count,)).copy()

    @property
    def info(self) -> dict[str, Any]:
        """Method, base model, and of each module rank, norm and largest relative change."""
        return json.loads(load_library().loragen_compact_json(self._pointer))

    def save(self, path: Path, relative: bool = False) -> None:
        """Writes its file; `relative` writes delta / sigma."""
        call("loragen_compact_save", self._pointer, encode(path, "path"), int(relative))

    def expand(self, basis: Basis, rank: int = 0, limit: float = 0.0) -> Adapters:
        """The same update as an ordinary adapter of rank r on the unchanged base model.

        `rank` cuts each update to the best of that rank; with `limit` no number changes more than that share of what the
        weight has. 0: neither.
        """
        options = CExpandOptions(rank=rank, limit=limit)
        return Adapters._of(
            Handle("loragen_adapters_free", "loragen_compact_expand", self._pointer, basis._pointer, byref(options)))

    def expand_file(self, basis: Basis, path: Path, format: Format = Format.BY_SUFFIX, *, rank: int = 0,
                    limit: float = 0.0, dtype: DType = DType.FLOAT32, keep_alpha: bool = False,
                    base: Path | None = None, peft_names: bool = False, portable: bool = False, layers: int = 0,
                    model: str | None = None) -> None:
        """Expands and writes, a module at a time where the format allows that; options as `Adapter.save`."""
        save = save_options(dtype, keep_alpha, base, peft_names, portable, layers, model)
        options = CExpandOptions(rank=rank, limit=limit, save=pointer(save))
        call("loragen_compact_expand_file", self._pointer, basis._pointer, encode(path, "path"), int(format),
             byref(options))
