"""LoRA adapters on demand: train generators of LoRA weights and draw adapters from them, in this process, on the CPU.

    generator = loragen.Generator("digits.loragen.safetensors")
    adapter = generator.generate(bits="0001100101")[0]
    adapter.save("my-adapter")
"""

from ._adapters import Adapter, Adapters, DType, Format, Module, Tensor
from ._analysis import Analysis, compare, doctor, nearest
from ._apply import Apply, apply, convert
from ._compact import Basis, CompactAdapter
from ._corpus import Corpus, CorpusEntry, Split
from ._encoder import Encoder, States, Tokenizer
from ._errors import (
    CancelledError,
    FileError,
    FormatError,
    InternalError,
    InvalidArgumentError,
    LoragenError,
    MismatchError,
    NonFiniteError,
    OutOfMemoryError,
    UnsupportedError,
    VersionError,
)
from ._generator import ConditionPart, Generator
from ._library import load_library, names, set_threads, threads, version
from ._pictures import ImageEncoder
from ._progress import Progress
from ._training import train
from ._verify import verify

__all__ = [
    "Adapter",
    "Adapters",
    "Analysis",
    "Apply",
    "Basis",
    "CancelledError",
    "CompactAdapter",
    "ConditionPart",
    "Corpus",
    "CorpusEntry",
    "DType",
    "Encoder",
    "FileError",
    "Format",
    "FormatError",
    "Generator",
    "ImageEncoder",
    "InternalError",
    "InvalidArgumentError",
    "LoragenError",
    "MismatchError",
    "Module",
    "NonFiniteError",
    "OutOfMemoryError",
    "Progress",
    "Split",
    "States",
    "Tensor",
    "Tokenizer",
    "UnsupportedError",
    "VersionError",
    "apply",
    "compare",
    "convert",
    "doctor",
    "load_library",
    "names",
    "nearest",
    "set_threads",
    "threads",
    "train",
    "verify",
    "version",
]
