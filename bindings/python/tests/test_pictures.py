"""Pictures through the C surface, against what transformers made of them (Tests/golden/vision.py)."""

import json
from pathlib import Path

import loragen
import numpy
import pytest

GOLDEN = Path(__file__).parents[3] / "Tests/EncodersTests/Golden/vision"
PICTURE = GOLDEN / "picture.png"


@pytest.mark.parametrize("name", ["clip-projected", "siglip", "dinov2-without-a-crop"])
def test_files_bytes_and_rows_give_the_vectors_of_transformers(name):
    expected = json.loads((GOLDEN / name / "expected.json").read_text())
    encoder = loragen.ImageEncoder(GOLDEN / name)
    vectors = encoder.encode([PICTURE, PICTURE.read_bytes()])
    numpy.testing.assert_allclose(vectors, [expected["pooled"]] * 2, atol=1e-4)
    for layer in (-1, 0, 1, 2):
        states = encoder.states(PICTURE, layer)
        numpy.testing.assert_allclose(states.reshape(-1), expected["last" if layer < 0 else str(layer)], atol=1e-4)
    assert len(encoder.info["identity"]) == 64 and encoder.info["layers"] == 2


def test_raw_rows_and_options():
    encoder = loragen.ImageEncoder(GOLDEN / "clip")
    pixels = numpy.random.default_rng(0).integers(0, 256, (9, 7, 3), numpy.uint8)
    vector = encoder.encode([pixels])
    assert (vector == encoder.encode([pixels[:, :, :]], as_stored=True, drop_alpha=True)).all()
    assert (vector != encoder.encode([pixels[::-1]])).any()
    assert encoder.encode([]).shape == (0, 8)


def test_what_is_wrong_is_said(tmp_path):
    with pytest.raises(loragen.FileError, match="config.json"):
        loragen.ImageEncoder(tmp_path)
    encoder = loragen.ImageEncoder(GOLDEN / "clip")
    with pytest.raises(loragen.FormatError, match=r"pictures\[1\].*cut off"):
        encoder.encode([PICTURE, PICTURE.read_bytes()[:-60]])
    with pytest.raises(loragen.UnsupportedError, match="not a PNG, JPEG or WebP"):
        encoder.encode([b"GIF89a"])
    with pytest.raises(loragen.InvalidArgumentError, match="layer"):
        encoder.states(PICTURE, 3)
    with pytest.raises(TypeError):
        encoder.encode([numpy.zeros((4, 4), numpy.uint8)])
