"""Checks of adapters before they leave."""

from __future__ import annotations

import json
import os
from typing import Any, Union

from ._library import Handle, encode, load_library

Path = Union[str, "os.PathLike[str]"]


def verify(adapter: Path, base: Path | None = None, corpus: Path | None = None) -> dict[str, Any]:
    """Checks an adapter in any format against its base model's headers, and against what hosts do with it.

    `base` is the base model's folder, config.json, .safetensors file or index, GGUF or ONNX file; `corpus` says which
    norms are usual. docs/hosts.md has the fields of what comes back; `["errors"]` is 0 for an adapter that is good.
    """
    handle = Handle("loragen_verification_free", "loragen_verify", encode(adapter, "adapter"), encode(base, "base"),
                    encode(corpus, "corpus"))
    found: dict[str, Any] = json.loads(load_library().loragen_verification_json(handle.pointer))
    return found
