"""ONNX Runtime, Python's onnx and the system's libonnx in one process with this library, in every order of loading and with
every visibility of symbols: all of them work, and this library writes the same bytes.

    LORAGEN_LIBRARY=... python3 neighbours.py ADAPTER       (onnxruntime; onnx and libonnx where they are installed)
"""

import base64
import ctypes
import ctypes.util
import hashlib
import importlib.util
import itertools
import os
import subprocess
import sys
import tempfile

# y = x * x, IR 8, opset 17.
MODEL = base64.b64decode("CAgSAXQ6MQoOCgF4CgF4EgF5IgNNdWwSAWdaDQoBeBIICgYIARICCgBiDQoBeRIICgYIARICCgBCBAoAEBE=")
FLAGS = {"global": os.RTLD_NOW | os.RTLD_GLOBAL, "local": os.RTLD_NOW | os.RTLD_LOCAL,
         "lazy": os.RTLD_LAZY | os.RTLD_GLOBAL}


def load(name, visibility):
    """Loads a neighbour; returns a function that uses it."""
    flags = FLAGS[visibility]
    sys.setdlopenflags(flags)
    if name == "loragen":
        library = ctypes.CDLL(os.environ["LORAGEN_LIBRARY"], mode=flags)
        library.loragen_last_error.restype = ctypes.c_char_p

        def use():
            with tempfile.TemporaryDirectory() as folder:
                paths = [os.path.join(folder, name) for name in ("a.onnx", "b.onnx")]
                for source, path in zip((sys.argv[2], *paths), paths):  # reads its own file the second time
                    adapters = ctypes.c_void_p()
                    if library.loragen_adapters_open(ctypes.byref(adapters), source.encode()):
                        raise RuntimeError(library.loragen_last_error().decode())
                    if library.loragen_adapters_save(adapters, ctypes.c_size_t(0), path.encode(), 2, None):
                        raise RuntimeError(library.loragen_last_error().decode())
                    library.loragen_adapters_free(adapters)
                with open(path, "rb") as file:
                    print("bytes", hashlib.sha256(file.read()).hexdigest())
    elif name == "onnxruntime":
        import numpy
        import onnxruntime

        def use():
            session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
            (y,) = session.run(None, {"x": numpy.float32([1, 2, 3])})
            assert y.tolist() == [1, 4, 9], y
    elif name == "onnx":
        import onnx

        def use():
            model = onnx.load_from_string(MODEL)
            onnx.checker.check_model(model, full_check=True)
            assert model.SerializeToString() == MODEL
    else:  # the very library that ours opens, for all to see
        ctypes.CDLL(name, mode=flags)

        def use():
            pass
    return use


def child(order):
    uses = [load(*item.split(":")) for item in order]
    # Twice, and from back to front too: the second use finds what the others have set up.
    for use in uses + uses[::-1]:
        use()


def main():
    others = [None]
    others += ["onnx"] if importlib.util.find_spec("onnx") else []
    others += [name for name in ("libonnx.so.1.12.0", "libonnx.so.1", "libprotobuf.so.32") if loads(name)]
    runs = []
    for pair in itertools.permutations(("loragen", "onnxruntime")):
        for visibility in itertools.product(("global", "local"), repeat=2):
            runs.append([f"{name}:{v}" for name, v in zip(pair, visibility)])
    for other in others[1:]:
        for pair in itertools.permutations(("loragen", "onnxruntime")):
            for place in (0, 1, 2):
                order = [f"{name}:global" for name in pair]
                order.insert(place, f"{other}:{'lazy' if place == 1 else 'global'}")
                runs.append(order)
    digests, failures = set(), 0
    for order in runs:
        result = subprocess.run([sys.executable, __file__, "child", sys.argv[1], *order], capture_output=True, text=True)
        digests.update(line for line in result.stdout.splitlines() if line.startswith("bytes"))
        if result.returncode:
            failures += 1
            print(f"FAIL  {' '.join(order)}: status {result.returncode}\n{result.stderr[-2000:]}")
    if len(digests) != 1:
        failures += 1
        print(f"FAIL  {len(digests)} different files were written")
    if failures:
        sys.exit(1)
    print(f"ok    ONNX neighbours: {len(runs)} orders of loading with {', '.join(o for o in others if o) or 'no others'}")


def loads(name):
    try:
        ctypes.CDLL(name, mode=os.RTLD_LAZY)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    if sys.argv[1] == "child":
        child(sys.argv[3:])
    else:
        main()
