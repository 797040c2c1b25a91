import os

import loragen
import numpy
import pytest


@pytest.fixture
def adapters(generator, bits):
    return generator.generate(bits=bits, samples=1)[0], generator.generate(bits="0" * len(bits))[0]


def products(adapter):
    """All updates, formed in full."""
    for module in adapter.modules:
        key = f"base_model.model.{module.name}.lora_"
        b, a = (adapter[f"{key}{part}.weight"].numpy().astype(float) for part in "BA")
        yield module.alpha / module.rank * b @ a


def test_a_comparison_is_that_of_the_products(adapters):
    comparison = loragen.compare(*adapters)
    x, y = (numpy.concatenate([p.ravel() for p in products(adapter)]) for adapter in adapters)
    assert comparison["similarity"] == pytest.approx(x @ y / numpy.linalg.norm(x) / numpy.linalg.norm(y), rel=1e-9)
    assert comparison["distance"] == pytest.approx(numpy.linalg.norm(x - y), rel=1e-9)
    for module, product in zip(comparison["modules"], products(adapters[0])):
        expected = numpy.linalg.svd(product, compute_uv=False)
        values = module["spectra"][0]["singular_values"]
        numpy.testing.assert_allclose(values, expected[: len(values)], rtol=1e-9)
    assert "cosine" in str(comparison) and comparison.svg is None


def test_the_nearest_of_a_corpus_come_in_order(adapters):
    found = loragen.nearest(adapters[0], os.environ["LORAGEN_TEST_CORPUS"], 5)["neighbours"]
    assert len(found) == 5
    similarities = [item["similarity"] for item in found]
    assert similarities == sorted(similarities, reverse=True)


def test_the_doctor_finds_what_is_wrong(adapters, tmp_path):
    for name in "ab":
        adapters[0].save(tmp_path / name)
    adapters[1].save(tmp_path / "c")
    (tmp_path / "c" / "adapter_config.json").write_text("[]")
    diagnosis = loragen.doctor(tmp_path)
    codes = {finding["code"]: finding for finding in diagnosis["findings"]}
    assert codes["exact-duplicate"]["adapters"] == ["a", "b"]
    assert codes["unreadable"]["adapters"] == ["c"]
    assert diagnosis.errors == 1 and diagnosis.svg.startswith("<svg")
    with pytest.raises(loragen.CancelledError):
        loragen.doctor(tmp_path, progress=lambda _: False)
    with pytest.raises(loragen.FileError):
        loragen.doctor(tmp_path / "nothing")
