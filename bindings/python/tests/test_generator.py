import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import loragen
import numpy
import pytest


def test_a_generator_says_what_it_makes(generator):
    assert generator.condition_kind == "bits"
    assert generator.module_count == len(generator.modules)
    assert generator.value_count == sum(m.rank * (m.inputs + m.outputs) for m in generator.modules)
    assert isinstance(generator.report, dict)
    assert len(generator.hash) == 64


def test_the_same_request_gives_the_same_bytes(generator, bits):
    first = generator.generate(bits=bits, seed=3)[0].arrays()
    second = generator.generate(bits=bits, seed=3)[0].arrays()
    assert all(numpy.array_equal(first[name], second[name]) for name in first)


def test_a_sample_depends_on_the_seed_and_its_number_alone(generator, bits):
    few = generator.generate(bits=bits, samples=2)
    many = generator.generate(bits=bits, samples=4)
    for i in range(2):
        assert all(numpy.array_equal(few[i][name], many[i][name]) for name in few[i])


def test_bits_and_their_vector_are_one_request(generator, bits):
    vector = numpy.array([float(bit) for bit in bits])
    by_bits = generator.generate(bits=bits)[0]
    by_vector = generator.generate(vector)[0]
    assert all(numpy.array_equal(by_bits[name], by_vector[name]) for name in by_bits)


def test_a_generated_file_has_the_bytes_of_a_saved_one(generator, bits, tmp_path):
    seen = []
    generator.generate(bits=bits, seed=3, samples=2)[1].save(tmp_path / "saved", dtype=loragen.DType.FLOAT16)
    generator.generate_file(
        tmp_path / "streamed", bits=bits, seed=3, sample=1, dtype=loragen.DType.FLOAT16, memory_limit=256 << 20,
        progress=seen.append)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "saved" / name).read_bytes() == (tmp_path / "streamed" / name).read_bytes()
    with pytest.raises(loragen.LoragenError, match="limit"):
        generator.generate_file(tmp_path / "none", bits=bits, memory_limit=1000)
    # What needs the adapter in memory is refused with a limit, and only then.
    for options in ({"format": loragen.Format.NPZ}, {"portable": True}):
        with pytest.raises(loragen.LoragenError, match="memory"):
            generator.generate_file(tmp_path / "none", bits=bits, memory_limit=256 << 20, **options)
    assert not (tmp_path / "none").exists()
    generator.generate_file(tmp_path / "a.npz", bits=bits, seed=3, sample=1)
    generator.generate(bits=bits, seed=3, samples=2)[1].save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with pytest.raises(loragen.LoragenError, match="rank|layer|project"):  # digits' modules are not those of every host
        generator.generate_file(tmp_path / "none", bits=bits, portable=True)


def test_the_library_is_not_looked_for_in_the_working_folder(tmp_path):
    program = "import loragen; print(loragen.version())"
    for path in ("libloragen.so.0", "./libloragen.so.0"):
        environment = dict(os.environ, LORAGEN_LIBRARY=path)
        (tmp_path / "libloragen.so.0").write_bytes(b"planted")
        result = subprocess.run([sys.executable, "-c", program], env=environment, cwd=tmp_path, capture_output=True, text=True)
        assert result.returncode != 0 and "relative" in result.stderr


def test_a_source_is_never_written_over(generator, bits, tmp_path):
    adapter = generator.generate(bits=bits)[0]
    adapter.save(tmp_path / "a")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    for target in ("a", "link", "./a/"):
        with pytest.raises(loragen.InvalidArgumentError, match="what is read"):
            loragen.Adapters(tmp_path / "a")[0].save(tmp_path / target, loragen.Format.PEFT)
        with pytest.raises(loragen.InvalidArgumentError, match="what is read"):
            loragen.convert(tmp_path / "a", tmp_path / target, loragen.Format.PEFT)
    with pytest.raises(loragen.InvalidArgumentError, match="suffix"):
        adapter.save(tmp_path / "a.weird")
    assert not (tmp_path / "a.weird").exists()


def test_threads_share_a_generator(generator, bits):
    expected = generator.generate(bits=bits)[0].arrays()
    with ThreadPoolExecutor(8) as pool:
        for adapters in pool.map(lambda _: generator.generate(bits=bits), range(32)):
            assert all(numpy.array_equal(expected[name], adapters[0][name]) for name in expected)


@pytest.mark.parametrize(
    "arguments, error",
    [
        ({"bits": "0"}, loragen.LoragenError),
        ({"bits": "x" * 40}, loragen.LoragenError),
        ({"bits": "01\0"}, ValueError),
        ({"condition": [1.0]}, loragen.MismatchError),
        ({"condition": [[1.0]]}, ValueError),
        ({"seed": -1}, ValueError),
        ({"seed": 2**64}, ValueError),
        ({"samples": 0}, ValueError),
        ({"samples": 2**40}, ValueError),
        ({"guidance": float("nan")}, ValueError),
        ({"guidance": float("inf")}, loragen.NonFiniteError),
        ({"steps": 0}, ValueError),
    ],
)
def test_a_bad_request_is_refused(generator, bits, arguments, error):
    if "condition" not in arguments:
        arguments = {"bits": bits, **arguments}
    with pytest.raises(error) as caught:
        generator.generate(**arguments)
    assert str(caught.value)


def test_a_number_that_is_not_finite_is_named(generator, bits):
    vector = [float(bit) for bit in bits]
    vector[1] = float("nan")
    with pytest.raises(loragen.NonFiniteError, match="element 1"):
        generator.generate(vector)


def test_errors_are_of_the_kind_that_python_expects():
    with pytest.raises(OSError) as caught:
        loragen.Generator("/does/not/exist")
    assert isinstance(caught.value, loragen.FileError)
    assert "/does/not/exist" in str(caught.value)


def test_a_closed_generator_says_so(generator, tmp_path, corpus):
    with loragen.train(corpus, tmp_path / "mean.safetensors", method="mean") as mean:
        assert mean.method == "mean"
    with pytest.raises(ValueError, match="closed"):
        mean.generate()


def test_closing_in_the_middle_of_a_call_frees_nothing_under_it(generator, bits, tmp_path):
    adapters = generator.generate(bits=bits)
    expected = adapters[0].arrays()
    copies = {name: array.copy() for name, array in expected.items()}
    with ThreadPoolExecutor(4) as pool:
        saved = [pool.submit(adapters[0].save, tmp_path / f"{index}.npz") for index in range(8)]
        adapters.close()
        assert all(future.result() is None for future in saved)
    with pytest.raises(ValueError, match="closed"):
        len(adapters)
    assert all(numpy.array_equal(expected[name], copies[name]) for name in copies)


def test_conditions_of_several_parts(corpus, tmp_path):
    folder = tmp_path / "corpus"
    path = os.environ["LORAGEN_TEST_CORPUS"]
    shutil.copytree(path, folder) if os.path.isdir(path) else corpus.unpack(folder)
    lines = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    for line in lines:
        bits = line.pop("bits")
        line["conditions"] = {"low": {"bits": bits[:2]}, "high": {"vector": [float(bit) for bit in bits[2:]]}}
    (folder / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    generator = loragen.train(folder, tmp_path / "parts.safetensors", method="ridge")
    assert generator.condition_kind == "parts"
    assert [(p.name, p.kind) for p in generator.conditions] == [("high", "vector"), ("low", "bits")]
    high = [1.0] * generator.conditions[0].length
    named = generator.generate({"low": "01", "high": high})[0].arrays()
    numbers = generator.generate({"high": numpy.array(high), "low": [0, 1]})[0].arrays()
    assert all(numpy.array_equal(named[name], numbers[name]) for name in named)
    other = generator.generate({"low": "10", "high": high})[0].arrays()
    assert any(not numpy.array_equal(named[name], other[name]) for name in named)
    for wrong, part in (({"low": "01"}, "high"), ({"low": "011", "high": high}, "3 bits"), ({"x": "01"}, "x")):
        with pytest.raises(loragen.LoragenError, match=part):
            generator.generate(wrong)
    assert generator.report["verdict"] in generator.report_text(brief=True)
    assert "ridge" in [method["name"] for method in loragen.names()["methods"]]
