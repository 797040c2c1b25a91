"""Training."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from ctypes import byref
from typing import Any, Union

from ._corpus import Corpus
from ._encoder import Encoder
from ._generator import Encoders, Generator, _at_least_zero, _in_range
from ._library import CTrainingOptions, call, encode
from ._pictures import ImageEncoder
from ._progress import Callback, progress_function

Path = Union[str, "os.PathLike[str]"]


def train(
    corpus: Corpus | Path,
    path: Path,
    *,
    method: str = "cond-pdiff",
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    memory_limit: int = 0,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 0,
    encoder: Encoder | Path | None = None,
    image_encoder: ImageEncoder | Path | None = None,
    condition: str | None = None,
    progress: Callback | None = None,
) -> Generator:
    """Trains a generator on a corpus, writes it to `path`, and opens it.

    `method` is "cond-pdiff", "rpg" or a baseline: "mean", "nearest", "ridge", "ridge-pairs", "kernel-ridge", "mlp".
    `preset` is one of the method's, None for "default"; baselines have "factors" beside it (docs/report.md). `settings`
    overrides single settings of the preset. `memory_limit` is in bytes, 0 for none. With `checkpoint`, a file, an
    interrupted training goes on where it stopped, to the same bytes. Ctrl-C stops it and raises
    KeyboardInterrupt; a `progress` that returns False stops it and raises CancelledError.

    Tasks in words or by pictures take an `encoder` or an `image_encoder`, opened or as a folder. `condition` is the
    manifest's field that the generator is asked by: "conditions", "text", "images", "none"; None: what there is.
    """
    if not isinstance(corpus, Corpus):
        corpus = Corpus(corpus)
    options = CTrainingOptions(
        method=encode(method, "method"),
        preset=encode(preset, "preset"),
        settings=encode(None if settings is None else json.dumps(dict(settings)), "settings"),
        seed=_in_range("seed", seed, 0, 2**64 - 1),
        memory_limit=_in_range("memory_limit", memory_limit, 0, 2**64 - 1),
        checkpoint=encode(checkpoint, "checkpoint"),
        checkpoint_seconds=_at_least_zero("checkpoint_seconds", checkpoint_seconds),
    )
    encoders = Encoders(encoder, image_encoder)
    options.encoder, options.image_encoder = encoders.pointers
    options.condition = encode(condition, "condition")
    with progress_function(progress) as function:
        options.progress = function
        call("loragen_train", corpus._pointer, encode(path, "path"), byref(options))
    return Generator(path, encoder=encoders.texts, image_encoder=encoders.pictures)
