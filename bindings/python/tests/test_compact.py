"""Bases and compact adapters through the C surface, against NumPy."""

import json
import struct

import loragen
import numpy
import pytest


def write_safetensors(path, tensors):
    header, data = {}, b""
    for name, values in tensors.items():
        begin = len(data)
        data += values.astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@pytest.fixture
def base(tmp_path):
    random = numpy.random.default_rng(0)
    weights = {f"layers.{i}.q_proj.weight": random.standard_normal((12, 8)).astype(numpy.float32) for i in range(2)}
    write_safetensors(tmp_path / "model.safetensors", weights)
    return tmp_path / "model.safetensors", weights


def test_singular_values_are_numpys(base, tmp_path):
    seen = []
    basis = loragen.Basis.compute(base[0], tmp_path / "b.safetensors", rank=3, progress=lambda p: seen.append(p.stage))
    assert seen and seen[0] == "layers.0.q_proj"
    for index, module in enumerate(basis.modules):
        left, sigma, right = basis.factors(index)
        weight = base[1][module.name + ".weight"]
        expected = numpy.linalg.svd(weight.astype(float), compute_uv=False)[:3]
        numpy.testing.assert_allclose(sigma, expected, rtol=1e-5)
        numpy.testing.assert_allclose(left.T @ weight @ right.T, numpy.diag(sigma), atol=1e-5)
    basis.check(base[0])
    assert basis.info["method"] == "svfit"


@pytest.mark.parametrize("method", ["svfit", "loldu"])
def test_expansion_is_the_same_update(base, tmp_path, method):
    basis = loragen.Basis.compute(base[0], tmp_path / "b.safetensors", method=method, rank=0)
    deltas = numpy.random.default_rng(1).standard_normal(16).astype(numpy.float32)
    compact = loragen.CompactAdapter.create(basis, deltas)
    compact.save(tmp_path / "c.safetensors", relative=True)
    compact = loragen.CompactAdapter(tmp_path / "c.safetensors")
    numpy.testing.assert_allclose(compact.deltas, deltas, rtol=1e-6)
    compact.expand_file(basis, tmp_path / "adapter")
    adapter = loragen.Adapters(tmp_path / "adapter")[0]
    back, captured = loragen.CompactAdapter.project(compact.expand(basis)[0], basis)
    assert captured == pytest.approx(1)
    numpy.testing.assert_allclose(back.deltas, deltas, rtol=1e-3, atol=1e-4)
    for index, module in enumerate(basis.modules):
        left, _, right = basis.factors(index)
        a, b = (adapter[f"base_model.model.{module.name}.lora_{x}.weight"].numpy() for x in "AB")
        update = (left * deltas[8 * index:8 * index + 8]) @ right
        numpy.testing.assert_allclose(b @ a, update, atol=1e-5 * numpy.abs(update).max())
    loragen.apply(base[0], tmp_path / "c.safetensors", tmp_path / "merged.safetensors", basis=tmp_path / "b.safetensors")
    assert (tmp_path / "merged.safetensors").stat().st_size == base[0].stat().st_size


def test_what_is_refused(base, tmp_path):
    basis = loragen.Basis.compute(base[0], tmp_path / "b.safetensors", rank=2)
    with pytest.raises(loragen.MismatchError):
        loragen.CompactAdapter.create(basis, numpy.zeros(3))
    with pytest.raises(loragen.NonFiniteError):
        loragen.CompactAdapter.create(basis, numpy.full(4, numpy.nan))
    with pytest.raises(loragen.InvalidArgumentError):
        loragen.Basis.compute(base[0], tmp_path / "x.safetensors", method="qr")
    with pytest.raises(loragen.CancelledError):
        loragen.Basis.compute(base[0], tmp_path / "x.safetensors", progress=lambda p: False)
    assert not (tmp_path / "x.safetensors").exists()
    cut, lost = loragen.CompactAdapter.create(basis, [3, 1, 0, 2]).truncated(1)
    assert cut.deltas.tolist() == [3, 0, 0, 2]
    assert lost == pytest.approx(1 / 14)
