import gc

import loragen
import numpy
import pytest


def test_an_adapter_is_a_mapping_of_peft_keys(adapter, generator):
    assert len(adapter) == generator.tensor_count
    for module in adapter.modules:
        assert adapter[f"base_model.model.{module.name}.lora_A.weight"].shape == (module.rank, module.inputs)
        assert adapter[f"base_model.model.{module.name}.lora_B.weight"].shape == (module.outputs, module.rank)
    with pytest.raises(KeyError):
        adapter["nothing"]


def test_arrays_are_views_that_keep_their_memory_alive(generator, bits):
    with generator.generate(bits=bits) as adapters:
        tensor = next(iter(adapters[0].values()))
        array = numpy.asarray(tensor)
        assert array.ctypes.data == numpy.asarray(tensor).ctypes.data
        assert not array.flags.writeable and not array.flags.owndata
        expected = array.copy()
    with pytest.raises(ValueError, match="closed"):
        adapters[0]
    del adapters, tensor
    gc.collect()
    junk = [numpy.full(expected.size, 7.0, dtype=numpy.float32) for _ in range(1000)]
    assert numpy.array_equal(array, expected) and len(junk) == 1000


def test_dlpack_hands_the_memory_over(adapter):
    tensor = next(iter(adapter.values()))
    array = numpy.from_dlpack(tensor)
    assert array.ctypes.data == tensor.numpy().ctypes.data
    expected = array.copy()
    del adapter, tensor
    gc.collect()
    assert numpy.array_equal(array, expected)


def test_a_dlpack_capsule_that_nobody_takes_is_freed(adapter):
    for _ in range(1000):
        next(iter(adapter.values())).__dlpack__()


def test_torch_takes_the_memory(adapter):
    torch = pytest.importorskip("torch")
    source = next(iter(adapter.values()))
    tensor = torch.from_dlpack(source)
    assert tensor.data_ptr() == source.numpy().ctypes.data
    assert tuple(tensor.shape) == source.shape


def test_dlpack_refuses_what_it_cannot_do(adapter):
    tensor = next(iter(adapter.values()))
    assert tensor.__dlpack_device__() == (1, 0)
    for arguments in ({"copy": True}, {"stream": 1}, {"dl_device": (2, 0)}):
        with pytest.raises(BufferError):
            tensor.__dlpack__(**arguments)


def test_the_origin_names_the_generator(adapter, generator):
    origin = adapter.origin
    assert origin is not None
    assert generator.hash in str(origin)


@pytest.mark.parametrize("format, name", [(loragen.Format.PEFT, "a"), (loragen.Format.SAFETENSORS, "a.safetensors")])
def test_what_is_saved_can_be_opened(adapter, tmp_path, format, name):
    adapter.save(tmp_path / name, format, keep_alpha=True)
    read = loragen.Adapters(tmp_path / name)
    assert len(read) == 1
    assert read.modules == adapter.modules
    assert all(numpy.array_equal(adapter[key], read[-1][key]) for key in adapter)
    assert read[0].origin == adapter.origin


def test_without_keep_alpha_the_product_is_the_same(adapter, tmp_path):
    adapter.save(tmp_path / "a")
    read = loragen.Adapters(tmp_path / "a")[0]
    for module, portable in zip(adapter.modules, read.modules):
        assert portable.alpha == portable.rank
        key = f"base_model.model.{module.name}.lora_"
        b, a = (adapter[f"{key}{part}.weight"].numpy().astype(float) for part in "BA")
        d, c = (read[f"{key}{part}.weight"].numpy().astype(float) for part in "BA")
        numpy.testing.assert_allclose(d @ c, module.alpha / module.rank * b @ a, rtol=1e-5, atol=1e-7)


def test_half_precision_is_half_the_size(adapter, tmp_path):
    sizes = {}
    for dtype in (loragen.DType.FLOAT32, loragen.DType.FLOAT16, loragen.DType.BFLOAT16):
        path = tmp_path / f"{dtype.name}.safetensors"
        adapter.save(path, loragen.Format.SAFETENSORS, dtype=dtype)
        sizes[dtype] = path.stat().st_size
    assert sizes[loragen.DType.FLOAT16] < sizes[loragen.DType.FLOAT32]
    assert abs(sizes[loragen.DType.FLOAT16] - sizes[loragen.DType.BFLOAT16]) < 64
    with pytest.raises(loragen.InvalidArgumentError, match="GGUF"):
        adapter.save(tmp_path / "q", loragen.Format.SAFETENSORS, dtype=loragen.DType.Q8_0)


def test_saving_where_it_cannot_be_is_an_error(adapter):
    with pytest.raises(loragen.FileError):
        adapter.save("/does/not/exist/either")


def test_samples_are_a_sequence(generator, bits):
    adapters = generator.generate(bits=bits, samples=3)
    assert len(adapters) == 3 and len(list(adapters)) == 3 and len(adapters[1:]) == 2
    with pytest.raises(IndexError):
        adapters[3]
