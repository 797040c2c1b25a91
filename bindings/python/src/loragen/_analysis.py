"""Adapters held against each other, and folders of them looked at before training."""

from __future__ import annotations

import json
import os
from ctypes import byref
from functools import cached_property
from typing import Any, Union

from ._adapters import Adapter
from ._generator import _in_range
from ._library import CDoctorOptions, Handle, encode, load_library
from ._progress import Callback, progress_function

Path = Union[str, "os.PathLike[str]"]


class Analysis:
    """What was measured; `str(analysis)` is the text for people."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    @cached_property
    def data(self) -> dict[str, Any]:
        """All of it, by the schema in docs/doctor.md."""
        return dict(json.loads(load_library().loragen_analysis_json(self._handle.pointer)))

    @property
    def svg(self) -> str | None:
        """A picture, which only `doctor` makes."""
        text = load_library().loragen_analysis_svg(self._handle.pointer)
        return None if text is None else text.decode()

    @property
    def errors(self) -> int:
        """How many findings stand in the way of training."""
        return int(load_library().loragen_analysis_errors(self._handle.pointer))

    def __getitem__(self, name: str) -> Any:
        return self.data[name]

    def __str__(self) -> str:
        return str(load_library().loragen_analysis_text(self._handle.pointer).decode())


def compare(a: Adapter, b: Adapter) -> Analysis:
    """Two adapters side by side as updates of the base model, in all and module by module."""
    return Analysis(
        Handle("loragen_analysis_free", "loragen_compare", a._handle.pointer, a._sample, b._handle.pointer, b._sample)
    )


def nearest(adapter: Adapter, folder: Path, count: int = 0) -> Analysis:
    """The adapters below `folder` that are most similar, the nearest first; 0: all."""
    count = _in_range("count", count, 0, 2**63 - 1)
    handle = Handle("loragen_analysis_free", "loragen_nearest", adapter._handle.pointer, adapter._sample,
                    encode(folder, "folder"), count)
    return Analysis(handle)


def doctor(path: Path, *, memory_limit: int = 0, progress: Callback | None = None) -> Analysis:
    """Looks at a folder of adapters before training; `analysis["findings"]` says what is wrong and what to do.

    Factors take at most `memory_limit` bytes, 1 GiB by default; beyond, similarities are estimated.
    """
    options = CDoctorOptions(memory_limit=_in_range("memory_limit", memory_limit, 0, 2**64 - 1))
    with progress_function(progress) as function:
        options.progress = function
        handle = Handle("loragen_analysis_free", "loragen_doctor", encode(path, "path"), byref(options))
    return Analysis(handle)
