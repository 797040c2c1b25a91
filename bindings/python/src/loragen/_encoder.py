"""Encoders of texts: Hugging Face's folders, run by the library."""

from __future__ import annotations

import json
from ctypes import byref, c_char_p, c_size_t
from dataclasses import dataclass
from typing import Any, Sequence

import numpy

from ._adapters import Path
from ._library import CEncoderOptions, Handle, Owner, call, encode, load_library


@dataclass(frozen=True)
class States:
    """The tokens of one text after a layer."""

    ids: numpy.ndarray[Any, Any]
    """[tokens]"""
    values: numpy.ndarray[Any, Any]
    """[tokens, state width]"""
    pooled: numpy.ndarray[Any, Any]
    """[width], the text's vector"""


class Encoder(Owner):
    """Texts to vectors, with the numbers of `transformers` and `sentence-transformers`."""

    def __init__(self, folder: Path, *, tokenizer: Path | None = None) -> None:
        """Opens a folder with config.json, safetensors and tokenizer files; `tokenizer` is another that has the latter."""
        options = CEncoderOptions(tokenizer=encode(tokenizer, "tokenizer"))
        self._handle = Handle(
            "loragen_encoder_free", "loragen_encoder_open", encode(folder, "folder"), byref(options))

    @property
    def width(self) -> int:
        """Numbers of a text's vector."""
        return int(load_library().loragen_encoder_width(self._pointer))

    @property
    def state_width(self) -> int:
        """Numbers of a token's state."""
        return int(load_library().loragen_encoder_state_width(self._pointer))

    @property
    def layers(self) -> int:
        """Layers beside layer 0, that of the embeddings."""
        return int(load_library().loragen_encoder_layers(self._pointer))

    @property
    def info(self) -> dict[str, Any]:
        """Family, sizes, pooling, the longest text, the identity. The first call reads all weights."""
        return json.loads(load_library().loragen_encoder_json(self._pointer))

    def encode(self, texts: Sequence[str]) -> numpy.ndarray[Any, Any]:
        """The vectors of texts, [len(texts), width]."""
        if isinstance(texts, str):
            raise TypeError("texts is one string; expected a list of them")
        vectors = numpy.empty((len(texts), self.width), numpy.float32)
        pointers = (c_char_p * max(1, len(texts)))(*(encode(text, "texts") for text in texts))
        call("loragen_encoder_encode", self._pointer, pointers, len(texts), vectors.ctypes.data)
        return vectors

    def states(self, text: str, layer: int = -1) -> States:
        """A text's tokens after a layer: 0 is what the embeddings give, -1 the last hidden state."""
        handle = Handle("loragen_states_free", "loragen_encoder_states", self._pointer, encode(text, "text"), layer)
        library = load_library()
        count = library.loragen_states_count(handle)
        if count == 0:
            return States(numpy.empty(0, numpy.int32), numpy.empty((0, self.state_width), numpy.float32),
                          numpy.ctypeslib.as_array(library.loragen_states_pooled(handle), (self.width,)).copy())
        view = numpy.ctypeslib.as_array
        return States(
            view(library.loragen_states_ids(handle), (count,)).copy(),
            view(library.loragen_states_values(handle), (count, self.state_width)).copy(),
            view(library.loragen_states_pooled(handle), (self.width,)).copy())


class Tokenizer(Owner):
    """Texts to ids as `tokenizers` gives them, none cut off."""

    def __init__(self, folder: Path) -> None:
        """Opens a folder with tokenizer.json, or with the files from before it."""
        self._handle = Handle("loragen_tokenizer_free", "loragen_tokenizer_open", encode(folder, "folder"))

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """The ids of a text; `special`: with the tokens that stand before and after it."""
        data, count = encode(text, "text"), c_size_t()
        call("loragen_tokenizer_encode", self._pointer, data, special, None, 0, byref(count))
        ids = numpy.empty(count.value, numpy.int32)
        call("loragen_tokenizer_encode", self._pointer, data, special, ids.ctypes.data, len(ids), byref(count))
        return [int(value) for value in ids]
