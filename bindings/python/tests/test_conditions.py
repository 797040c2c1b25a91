"""Generators that are asked in words or by pictures, with the tiny encoders of the repository."""

import json
from pathlib import Path

import loragen
import numpy
import pytest

GOLDEN = Path(__file__).resolve().parents[3] / "Tests/EncodersTests/Golden"
TEXTS, PICTURES, PNG = GOLDEN / "text/bert", GOLDEN / "vision/clip", GOLDEN / "vision/picture.png"


@pytest.fixture(scope="session")
def in_words(corpus, tmp_path_factory):
    """A corpus of the same adapters whose tasks are said in words alone, each in two ways."""
    folder = tmp_path_factory.mktemp("words") / "corpus"
    corpus.unpack(folder)
    lines = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    for line in lines:
        bits = line.pop("bits")
        line["text"] = [f"a photo of {bits}", f"the {bits}"]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def values(adapters):
    return numpy.concatenate([numpy.array(tensor.numpy()).ravel() for tensor in adapters[0].values()])


def test_words_and_their_vector_ask_for_the_same(in_words, tmp_path):
    encoder = loragen.Encoder(TEXTS)
    trained = loragen.train(in_words, tmp_path / "g", method="nearest", encoder=encoder)
    assert [(part.name, part.kind, part.length) for part in trained.conditions] == [("text", "text", encoder.width)]
    assert trained.conditions[0].encoder["identity"] == encoder.info["identity"]
    generator = loragen.Generator(tmp_path / "g", encoder=TEXTS)
    text = "a photo of a cat"
    by_words = values(generator.generate(text=text))
    (vector,) = encoder.encode([text])
    assert (values(generator.generate(vector)) == by_words).all()
    assert (values(generator.generate({"text": text})) == by_words).all()
    assert (values(loragen.Generator(tmp_path / "g").generate(vector)) == by_words).all()
    # Several texts count by their mean, to the last bits.
    two = ["a photo of a cat", "x"]
    mean = encoder.encode(two).astype(float).mean(0)
    numpy.testing.assert_allclose(values(generator.generate(text=two)), values(generator.generate(mean)), atol=1e-6)


def test_without_the_encoder_or_with_another_words_are_refused(in_words, tmp_path):
    with pytest.raises(loragen.InvalidArgumentError, match="--encoder FOLDER"):
        loragen.train(in_words, tmp_path / "g", method="nearest")
    loragen.train(in_words, tmp_path / "g", method="nearest", encoder=TEXTS)
    with pytest.raises(loragen.InvalidArgumentError, match="takes the encoder"):
        loragen.Generator(tmp_path / "g").generate(text="a")
    with pytest.raises(loragen.MismatchError, match="another encoder"):
        loragen.Generator(tmp_path / "g", encoder=GOLDEN / "text/roberta")
    # One that is not needed is no harm.
    loragen.Generator(tmp_path / "g", encoder=TEXTS, image_encoder=PICTURES).generate(text="a")
    with pytest.raises(TypeError, match="parts by name"):
        loragen.Generator(tmp_path / "g", encoder=TEXTS).generate([0.0], text="a")


def test_tokens_are_read(in_words, tmp_path):
    settings = {"reader": "tokens", "reader.layer": 0, "reader.steps": 2, "reader.width": 8, "reader.heads": 2}
    generator = loragen.train(in_words, tmp_path / "g", method="nearest", encoder=TEXTS, settings=settings)
    again = loragen.Generator(tmp_path / "g", encoder=TEXTS)
    assert (values(generator.generate(text="a photo")) == values(again.generate(text="a photo"))).all()
    with pytest.raises(loragen.InvalidArgumentError, match="condition_count is 2; this generator takes a text"):
        again.generate(text=["a", "b"])


def test_pictures_ask_too(corpus, tmp_path):
    folder = tmp_path / "corpus"
    corpus.unpack(folder)
    lines = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    (folder / "a.png").write_bytes(PNG.read_bytes())
    for line in lines:
        line.pop("bits")
        line.pop("text", None)
        line["images"] = ["a.png", "a.png"]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(loragen.InvalidArgumentError, match="by pictures"):
        loragen.train(folder, tmp_path / "g", method="mean")
    generator = loragen.train(folder, tmp_path / "g", method="mean", image_encoder=PICTURES)
    by_path = values(generator.generate(images=[folder / "a.png"]))
    assert (values(generator.generate({"images": [PNG.read_bytes(), PNG]})) == by_path).all()
    with pytest.raises(loragen.UnsupportedError, match="not a PNG, JPEG or WebP"):
        generator.generate(images=[b"no picture"])
