"""Makes a small corpus for the tests of hosts: 56 adapters of two modules, conditioned on six bits.

    python3 make_corpus.py FOLDER

Each adapter is a linear function of its bits with a little noise, so a good generator has a skill close to 1. Needs
nothing but Python, and always writes the same bytes.
"""

import json
import random
import struct
import sys
from pathlib import Path

MODULES = {"net.layer.0.fc": (12, 8), "net.layer.1.fc": (8, 6)}  # name: (inputs, outputs)
RANK, ALPHA, BITS = 2, 4, 6


def save(path: Path, tensors: dict) -> None:
    """Writes a safetensors file; `tensors` maps names to (shape, values)."""
    header, body = {"__metadata__": {"format": "pt"}}, b""
    for name, (shape, values) in sorted(tensors.items()):
        data = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def main() -> None:
    folder = Path(sys.argv[1])
    rng = random.Random(0)
    tensors = {}
    for name, (inputs, outputs) in MODULES.items():
        key = f"base_model.model.{name}"
        tensors[f"{key}.lora_A.weight"] = [RANK, inputs]
        tensors[f"{key}.lora_B.weight"] = [outputs, RANK]
    mean = {key: [rng.gauss(0, 0.3) for _ in range(a * b)] for key, (a, b) in tensors.items()}
    effect = {key: [[rng.gauss(0, 0.1) for _ in range(a * b)] for _ in range(BITS)] for key, (a, b) in tensors.items()}
    config = {
        "peft_type": "LORA", "base_model_name_or_path": "tiny", "r": RANK, "lora_alpha": ALPHA, "bias": "none",
        "target_modules": sorted(MODULES), "fan_in_fan_out": False, "inference_mode": True, "task_type": None,
    }
    tasks = [f"{task:0{BITS}b}" for task in range(1 << BITS)][4:60]
    rng.shuffle(tasks)
    lines = []
    for index, bits in enumerate(tasks):
        (folder / bits).mkdir(parents=True)
        adapter = {}
        for key, shape in tensors.items():
            values = list(mean[key])
            for bit, rows in zip(bits, effect[key]):
                sign = 1 if bit == "1" else -1
                values = [value + sign * row for value, row in zip(values, rows)]
            adapter[key] = (shape, [value + rng.gauss(0, 0.01) for value in values])
        save(folder / bits / "adapter_model.safetensors", adapter)
        (folder / bits / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        split = "validation" if index < 8 else "test" if index < 16 else "train"
        lines.append({"path": bits, "task": bits, "run": f"run-{bits}", "split": split, "bits": bits})
    (folder / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main()
