"""Conversion and application through the C surface."""

import numpy
import pytest

import loragen


def test_conversion_keeps_the_product_and_says_what_is_lost(adapter, tmp_path):
    adapter.save(tmp_path / "a", keep_alpha=True)
    notes = loragen.convert(tmp_path / "a", tmp_path / "a.npz", loragen.Format.NPZ)
    back = loragen.Adapters(tmp_path / "a.npz")[0]
    assert len(back) == len(adapter)
    assert all(isinstance(note, str) and note for note in notes)
    assert loragen.convert(tmp_path / "a", tmp_path / "b.npz", loragen.Format.NPZ, keep_alpha=True) == []
    with numpy.load(tmp_path / "b.npz") as arrays:
        for name, values in adapter.arrays().items():
            numpy.testing.assert_array_equal(arrays[name], values)


def test_gguf_needs_the_base_model(adapter, tmp_path):
    adapter.save(tmp_path / "a")
    with pytest.raises(loragen.InvalidArgumentError, match="base model"):
        loragen.convert(tmp_path / "a", tmp_path / "a.gguf", loragen.Format.GGUF)


def test_a_model_without_the_modules_is_refused(adapter, tmp_path):
    adapter.save(tmp_path / "a")
    with pytest.raises(loragen.MismatchError):
        loragen.apply(tmp_path / "a" / "adapter_model.safetensors", tmp_path / "a", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()
