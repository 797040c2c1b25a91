"""Corpora of adapters."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from ctypes import byref, c_char_p
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Union

import numpy

from ._analysis import Analysis
from ._errors import LoragenError
from ._generator import _in_range
from ._library import CCorpusEntry, CImportOptions, Handle, Owner, ProblemCallback, call, decode, encode, load_library

Path = Union[str, "os.PathLike[str]"]


class Split(IntEnum):
    TRAIN = 0
    VALIDATION = 1
    TEST = 2


@dataclass(frozen=True)
class CorpusEntry:
    """One adapter of a corpus, as its manifest describes it."""

    path: str
    task: str
    run: str
    text: str | None
    bits: str | None
    condition: numpy.ndarray[Any, Any] | None
    split: Split


class Corpus(Owner, Sequence):  # type: ignore[type-arg]
    """A folder of adapters, with a manifest that lists folders or files in any format, or of PEFT folders without one; or a
    packed .safetensors file."""

    def __init__(self, path: Path) -> None:
        """Opens a corpus and checks all of it; the first problem is the error."""
        self._handle = Handle("loragen_corpus_free", "loragen_corpus_open", encode(path, "path"))

    @staticmethod
    def check(path: Path) -> list[str]:
        """Every problem of the corpus at `path`; an empty list if there is none. What is no problem of the corpus, such as
        too little memory, is raised."""
        problems: list[str] = []

        def problem(message: bytes, _payload: Any) -> int:
            problems.append(message.decode())
            return 0

        try:
            call("loragen_corpus_check", encode(path, "path"), ProblemCallback(problem), None)
        except LoragenError:
            if not problems:
                raise
        return problems

    @staticmethod
    def init(folder: Path, seed: int = 0) -> None:
        """Drafts a manifest for a folder of PEFT adapters that has none; one that exists is never replaced."""
        if not 0 <= seed < 2**64:
            raise ValueError(f"seed is {seed}; expected 0 to {2**64 - 1}")
        call("loragen_corpus_init", encode(folder, "folder"), seed)

    @staticmethod
    def import_folder(
        folder: Path,
        *,
        group: int = 0,
        rank: int = 0,
        same_base: Mapping[str, str] | None = None,
        keep_checkpoints: bool = False,
        dry_run: bool = False,
        seed: int = 0,
    ) -> Analysis:
        """Drafts the manifest of a folder from what lies beside its adapters: model cards, Civitai's and kohya's metadata,
        configs, pictures. `print()` the result; as data it says of each field where it comes from (docs/corpus.md).

        Of several groups of adapters the largest is drafted, or `group`, from 1. `same_base` has names of one base model,
        {"A": "B"}: A is taken as B. With `rank` adapters of other ranks are left out. Of a run the last adapter alone is
        taken unless `keep_checkpoints`. A manifest that exists is never replaced.
        """
        pairs = [encode(f"{name}={base}", "same_base") for name, base in (same_base or {}).items()]
        options = CImportOptions(
            seed=_in_range("seed", seed, 0, 2**64 - 1), group=_in_range("group", group, 0, 2**31),
            rank=_in_range("rank", rank, 0, 2**31 - 1), keep_checkpoints=keep_checkpoints, dry_run=dry_run,
            same_base=(c_char_p * len(pairs))(*pairs), same_base_count=len(pairs),
        )
        handle = Handle("loragen_analysis_free", "loragen_corpus_import", encode(folder, "folder"), byref(options))
        return Analysis(handle)

    def __len__(self) -> int:
        return int(load_library().loragen_corpus_count(self._pointer))

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(f"entry {index} of {len(self)}")
        c = CCorpusEntry()
        call("loragen_corpus_entry_at", self._pointer, place, byref(c))
        condition = None
        if c.condition:
            condition = numpy.array(c.condition[: c.condition_length], dtype=numpy.float32)
        return CorpusEntry(
            c.path.decode(), c.task.decode(), c.run.decode(), decode(c.text), decode(c.bits), condition,
            Split(c.split),
        )

    def unpack(self, folder: Path) -> None:
        """Writes the corpus as PEFT folders with a manifest into `folder`, which must not exist."""
        call("loragen_corpus_unpack", self._pointer, encode(folder, "folder"))

    def __repr__(self) -> str:
        return f"Corpus({len(self)} adapters)" if self._handle else "Corpus(closed)"
