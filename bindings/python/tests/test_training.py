import os
import signal
import threading
import time

import loragen
import pytest


def test_a_corpus_is_a_sequence_of_entries(corpus):
    assert len(corpus) == len(list(corpus))
    entry = corpus[-1]
    assert entry.bits and list(entry.condition) == [float(bit) for bit in entry.bits]
    assert {entry.split for entry in corpus} == set(loragen.Split)


def test_checking_a_corpus_lists_its_problems(tmp_path):
    assert loragen.Corpus.check(os.environ["LORAGEN_TEST_CORPUS"]) == []
    (tmp_path / "corpus.jsonl").write_text('{"path": "a"}\n{"path": "b"}\n')
    problems = loragen.Corpus.check(tmp_path)
    assert problems and all(problems)


def test_a_corpus_unpacks_into_folders(corpus, tmp_path):
    corpus.unpack(tmp_path / "unpacked")
    assert len(loragen.Corpus(tmp_path / "unpacked")) == len(corpus)
    with pytest.raises(loragen.LoragenError):
        corpus.unpack(tmp_path / "unpacked")


def test_a_manifest_is_drafted_from_what_lies_beside(corpus, tmp_path):
    corpus.unpack(tmp_path / "held")
    (tmp_path / "held" / "corpus.jsonl").unlink()
    for entry in corpus:
        (tmp_path / "held" / entry.path / "README.md").write_text(f"---\ndescription: Task {entry.task}\n---\n")
    trial = loragen.Corpus.import_folder(tmp_path / "held", dry_run=True, same_base={"a": "b"})
    assert not (tmp_path / "held" / "corpus.jsonl").exists()
    draft = loragen.Corpus.import_folder(tmp_path / "held")
    assert draft["lines"] == trial["lines"] and len(draft["lines"]) == len(corpus)
    assert "README.md: description" in str(draft) and draft["without_text"] == []
    assert {entry.text for entry in loragen.Corpus(tmp_path / "held")} == {f"Task {entry.task}" for entry in corpus}
    with pytest.raises(loragen.FileError):
        loragen.Corpus.import_folder(tmp_path / "held")
    with pytest.raises(loragen.InvalidArgumentError):
        loragen.Corpus.import_folder(tmp_path / "held", dry_run=True, group=2)
    with pytest.raises(ValueError):
        loragen.Corpus.import_folder(tmp_path / "held", rank=-1)


def test_training_makes_a_generator(corpus, bits, tmp_path):
    generator = loragen.train(corpus, tmp_path / "ridge.safetensors", method="ridge")
    assert generator.method == "ridge"
    assert len(generator.generate(bits=bits)) == 1


def test_progress_is_reported(corpus, tmp_path):
    seen = []
    with pytest.raises(loragen.CancelledError):
        loragen.train(corpus, tmp_path / "x", progress=lambda p: seen.append(p) or len(seen) < 2)
    assert len(seen) == 2 and seen[0].stage and seen[0].steps >= seen[0].step
    assert not (tmp_path / "x").exists()


def test_an_exception_in_progress_comes_out(corpus, tmp_path):
    def fail(_):
        raise ZeroDivisionError("from the callback")

    with pytest.raises(ZeroDivisionError, match="from the callback"):
        loragen.train(corpus, tmp_path / "x", progress=fail)
    assert not (tmp_path / "x").exists()


def test_ctrl_c_stops_training(corpus, tmp_path):
    def interrupt():
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)

    # Python leaves SIGINT ignored when its parent does, as a shell does for its background jobs.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            loragen.train(corpus, tmp_path / "x")
        thread.join()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "arguments, error",
    [
        ({"method": "nothing"}, loragen.LoragenError),
        ({"preset": "nothing"}, loragen.LoragenError),
        ({"settings": {"nothing": 1}}, loragen.LoragenError),
        ({"memory_limit": 1}, loragen.OutOfMemoryError),
        ({"memory_limit": -1}, ValueError),
        ({"checkpoint_seconds": -1}, ValueError),
    ],
)
def test_bad_options_are_refused(corpus, tmp_path, arguments, error):
    with pytest.raises(error):
        loragen.train(corpus, tmp_path / "x", **arguments)
    assert not (tmp_path / "x").exists()


def test_the_library_says_its_version_and_threads():
    assert loragen.version().count(".") == 2
    count = loragen.threads()
    loragen.set_threads(1)
    assert loragen.threads() == 1
    loragen.set_threads(count)
    with pytest.raises(loragen.InvalidArgumentError):
        loragen.set_threads(0)
