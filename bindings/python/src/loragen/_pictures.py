"""Pictures as vectors, by the encoder in a Hugging Face folder."""

from __future__ import annotations

import json
import os
from ctypes import POINTER, byref, c_size_t, pointer
from typing import Any, Sequence, Union

import numpy

from ._library import CPicture, Handle, Owner, call, encode, load_library

Picture = Union[str, "os.PathLike[str]", bytes, numpy.ndarray]


class ImageEncoder(Owner):
    """ViT, DINOv2, or the vision tower of CLIP or SigLIP.

    A picture is a path, the bytes of a PNG, JPEG or WebP file, or an array [height, width, 3] of uint8.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Opens a folder with config.json, safetensors and preprocessor_config.json; weights are mapped."""
        self._handle = Handle("loragen_image_encoder_free", "loragen_image_encoder_open", encode(folder, "folder"))

    @property
    def info(self) -> dict[str, Any]:
        """Architecture, pooling, sizes and identity."""
        return json.loads(load_library().loragen_image_encoder_json(self._pointer))

    def encode(self, pictures: Sequence[Picture], *, as_stored: bool = False,
               drop_alpha: bool = False) -> numpy.ndarray[Any, Any]:
        """Vectors [pictures, width].

        `as_stored` leaves the orientation in EXIF aside; `drop_alpha` takes the colours under transparency instead of
        laying the picture on white.
        """
        kept = [_picture(picture, as_stored, drop_alpha) for picture in pictures]
        vectors = numpy.empty((len(kept), load_library().loragen_image_encoder_width(self._pointer)), numpy.float32)
        pointers = (POINTER(CPicture) * len(kept))(*(pointer(picture) for picture, _ in kept))
        call("loragen_image_encoder_encode", self._pointer, pointers, len(kept), vectors.ctypes.data)
        return vectors

    def states(self, picture: Picture, layer: int = -1, *, as_stored: bool = False,
               drop_alpha: bool = False) -> numpy.ndarray[Any, Any]:
        """States [tokens, width] after a layer, 0 what goes into the first; -1 is transformers' last_hidden_state."""
        library = load_library()
        structure, _kept = _picture(picture, as_stored, drop_alpha)
        width = library.loragen_image_encoder_state_width(self._pointer)
        tokens = c_size_t()
        call("loragen_image_encoder_states", self._pointer, byref(structure), layer, None, 0, byref(tokens))
        values = numpy.empty((tokens.value, width), numpy.float32)
        call("loragen_image_encoder_states", self._pointer, byref(structure), layer, values.ctypes.data, values.size,
             byref(tokens))
        return values


def _picture(picture: Picture, as_stored: bool, drop_alpha: bool) -> tuple[CPicture, Any]:
    """The struct, and what it points to."""
    structure = CPicture(as_stored=int(as_stored), drop_alpha=int(drop_alpha))
    if isinstance(picture, numpy.ndarray):
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != numpy.uint8:
            raise TypeError(f"a picture of shape {picture.shape} and {picture.dtype}; expected [height, width, 3] of uint8")
        pixels = numpy.ascontiguousarray(picture)
        structure.rgb, structure.height, structure.width = pixels.ctypes.data, picture.shape[0], picture.shape[1]
        return structure, pixels
    if isinstance(picture, (bytes, bytearray, memoryview)):
        data = bytes(picture)
        structure.file, structure.file_size = data, len(data)
        return structure, data
    path = encode(picture, "picture")
    structure.path = path
    return structure, path
