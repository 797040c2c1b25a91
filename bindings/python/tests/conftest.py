"""The tests need a built library (LORAGEN_LIBRARY), a corpus of bits (LORAGEN_TEST_CORPUS) and a generator that was
trained on it (LORAGEN_TEST_GENERATOR); Tests/hosts/run_hosts.sh provides all three."""

import os

import loragen
import pytest


def _path(variable: str) -> str:
    path = os.environ.get(variable)
    if not path:
        pytest.skip(f"{variable} is not set")
    return path


@pytest.fixture(scope="session")
def corpus() -> loragen.Corpus:
    return loragen.Corpus(_path("LORAGEN_TEST_CORPUS"))


@pytest.fixture(scope="session")
def generator() -> loragen.Generator:
    return loragen.Generator(_path("LORAGEN_TEST_GENERATOR"))


@pytest.fixture(scope="session")
def bits(corpus: loragen.Corpus) -> str:
    """A held-out task."""
    return next(entry.bits for entry in corpus if entry.split == loragen.Split.TEST)


@pytest.fixture
def adapter(generator: loragen.Generator, bits: str) -> loragen.Adapter:
    return generator.generate(bits=bits, seed=1)[0]
