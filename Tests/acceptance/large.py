"""An adapter of more than 2 GiB: written as ONNX with external data, and read again.

large.py LORAGEN: 2.4 GB of made-up numbers, 8 GB of disk. Passes when ONNX's checker and ONNX Runtime accept the model, when
the way back gives the same numbers, when what has no room for it (.onnx_adapter) is refused before anything is written, and
when from PEFT folder to safetensors file and back it takes at most 200 MB of memory beside mapped files.
"""
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from safetensors import safe_open
from safetensors.numpy import save_file

LORAGEN = sys.argv[1]
RANK, WIDTH, MODULES = 1024, 4096, 72
failed = 0


def check(name, passed, detail=""):
    global failed
    failed += not passed
    print(f"{'ok  ' if passed else 'FAIL'} {name} {detail}", flush=True)


def loragen(*arguments, limit=resource.RLIM_INFINITY):
    return subprocess.run([LORAGEN, *map(str, arguments)], capture_output=True, text=True,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)))


def main():
    with tempfile.TemporaryDirectory(dir=".") as folder:
        folder = Path(folder)
        (folder / "peft").mkdir()
        random = np.random.default_rng(0)
        block = random.standard_normal((RANK, WIDTH), dtype=np.float32)
        tensors = {}
        for module in range(MODULES):
            name = f"base_model.model.model.layers.{module}.self_attn.q_proj"
            tensors[f"{name}.lora_A.weight"] = np.roll(block, module, 1)
            tensors[f"{name}.lora_B.weight"] = np.ascontiguousarray(np.roll(block, -module, 0).T)
        save_file(tensors, folder / "peft" / "adapter_model.safetensors")
        (folder / "peft" / "adapter_config.json").write_text(json.dumps(
            {"peft_type": "LORA", "r": RANK, "lora_alpha": RANK, "target_modules": ["q_proj"]}))
        size = sum(t.nbytes for t in tensors.values())
        limit = 200 << 20
        for source, target in (("peft", "large.safetensors"), ("large.safetensors", "again")):
            done = loragen("convert", folder / source, folder / target, limit=limit)
            check(f"{source} to {target} in 200 MB", done.returncode == 0, done.stderr.strip())
        with safe_open(folder / "again" / "adapter_model.safetensors", "numpy") as file:
            check("the same numbers", all(np.array_equal(file.get_tensor(k), v) for k, v in tensors.items()))
        (folder / "large.safetensors").unlink()
        (folder / "again" / "adapter_model.safetensors").unlink()
        written = loragen("convert", folder / "peft", folder / "large.onnx")
        check("written", written.returncode == 0, f"{size / 2**30:.2f} GiB {written.stderr.strip()}")
        onnx.checker.check_model(str(folder / "large.onnx"))
        model = onnx.load(str(folder / "large.onnx"), load_external_data=False)
        check("checked by onnx", len(model.graph.initializer) >= 2 * MODULES, f"IR {model.ir_version}")
        back = loragen("convert", folder / "large.onnx", folder / "back.safetensors")
        check("read", back.returncode == 0, back.stderr.strip())
        with safe_open(folder / "back.safetensors", "numpy") as file:
            check("the same numbers", all(np.array_equal(file.get_tensor(k), v) for k, v in tensors.items()))
        (folder / "back.safetensors").unlink()
        refused = loragen("convert", folder / "peft", folder / "large.onnx_adapter")
        check(".onnx_adapter is refused", refused.returncode != 0 and not (folder / "large.onnx_adapter").exists(),
              refused.stderr.strip()[:160])
    return failed


if __name__ == "__main__":
    sys.exit(main())
