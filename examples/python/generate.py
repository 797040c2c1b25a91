"""Generates an adapter for a task and saves it.

    pip install ./bindings/python
    python generate.py digits.loragen.safetensors 0001100101 out

writes out/adapter (a PEFT folder), out/adapter.safetensors and out/adapter.onnx.
"""

import sys
from pathlib import Path

import loragen
import numpy


def main() -> int:
    if len(sys.argv) != 4:
        print(f"usage: {sys.argv[0]} GENERATOR BITS OUT", file=sys.stderr)
        return 64
    path, bits, out = sys.argv[1], sys.argv[2], Path(sys.argv[3])

    try:
        # Opening maps the file and takes milliseconds. Keep the generator: it serves any number of requests, from any
        # number of threads.
        generator = loragen.Generator(path)

        # The condition says which task the adapter is for. The same seed gives the same bytes, always.
        adapter = generator.generate(bits=bits, seed=7)[0]

        # Views of the library's memory, without a copy. An adapter full of zeros is the commonest silent defect, so
        # look at the numbers too.
        print(len(adapter), "tensors")
        for name, tensor in adapter.items():
            print(name, list(tensor.shape))
        first = next(iter(adapter.values()))
        print(f"  norm of the first {numpy.linalg.norm(first):.6f}")
        print("origin", adapter.origin)

        out.mkdir(exist_ok=True)
        adapter.save(out / "adapter")
        adapter.save(out / "adapter.safetensors")
        adapter.save(out / "adapter.onnx")
    except loragen.LoragenError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
