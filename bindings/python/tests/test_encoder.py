"""Encoders of texts through the C surface, against what transformers gave for the tiny models of the repository."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import loragen
import numpy
import pytest

GOLDEN = Path(__file__).resolve().parents[3] / "Tests/EncodersTests/Golden/text"


@pytest.mark.parametrize("name", ["bert", "xlm-roberta", "roberta", "clip", "t5", "static"])
def test_vectors_and_states_are_those_of_transformers(name):
    rows = json.loads((GOLDEN / name / "expected.json").read_text())
    with loragen.Encoder(GOLDEN / name) as encoder:
        vectors = encoder.encode([row["text"] for row in rows])
        assert vectors.shape == (len(rows), encoder.width)
        numpy.testing.assert_allclose(vectors, [row["vector"] for row in rows], atol=1e-4)
        for row in rows:
            states = encoder.states(row["text"])
            assert states.ids.tolist() == row["ids"]
            for layer, expected in enumerate(row.get("states", [])):
                values = encoder.states(row["text"], layer).values
                numpy.testing.assert_allclose(values, expected, atol=1e-4)
        assert len(encoder.info["identity"]) == 64 and encoder.info["layers"] == encoder.layers
        assert encoder.encode([]).shape == (0, encoder.width)


def test_ids_and_their_ends():
    tokenizer = loragen.Tokenizer(GOLDEN / "bert")
    ids = tokenizer.encode("a photo")
    assert ids[1:-1] == tokenizer.encode("a photo", special=False)
    assert tokenizer.encode("") == [ids[0], ids[-1]]


def test_bad_arguments_are_errors(tmp_path):
    encoder = loragen.Encoder(GOLDEN / "bert")
    with pytest.raises(loragen.InvalidArgumentError, match="layer 9"):
        encoder.states("x", 9)
    with pytest.raises(TypeError):
        encoder.encode("x")
    with pytest.raises(loragen.FileError, match="config.json"):
        loragen.Encoder(tmp_path)
    with pytest.raises(loragen.FileError, match="tokenizer"):
        loragen.Encoder(GOLDEN / "bert", tokenizer=tmp_path)
    encoder.close()
    with pytest.raises(ValueError):
        encoder.encode(["x"])


def test_several_threads_share_one():
    encoder = loragen.Encoder(GOLDEN / "xlm-roberta")
    texts = [f"text {i} " + "word " * i for i in range(30)]
    one = encoder.encode(texts)
    with ThreadPoolExecutor(4) as pool:
        for other in pool.map(lambda _: encoder.encode(texts), range(8)):
            numpy.testing.assert_array_equal(other, one)
