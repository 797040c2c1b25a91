"""Makes the seeds of Tests/fuzz that need nothing of ours: safetensors, PEFT folders, manifests and packed corpora.

    python3 seeds.py               (numpy, safetensors)

The others are written by the library: LORAGEN_FUZZ_SEEDS=Tests/fuzz/corpus swift test --filter fuzzSeeds
"""

import json
from pathlib import Path

import numpy
from safetensors.numpy import save

HERE = Path(__file__).parent
random = numpy.random.default_rng(1)


def seed(kind, name, data):
    path = HERE / "corpus" / kind / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def tensors(dtype=numpy.float32):
    return {f"base_model.model.m.0.{m}.lora_{p}.weight": random.standard_normal(s).astype(dtype)
            for m, p, s in (("q", "A", (1, 3)), ("q", "B", (2, 1)), ("v", "A", (1, 3)), ("v", "B", (3, 1)))}


def config(**more):
    return json.dumps({"peft_type": "LORA", "r": 1, "lora_alpha": 2, "target_modules": ["q", "v"], **more})


# Every dtype, a scalar, an empty tensor, metadata, escapes.
mixed = {f"t.{numpy.dtype(t).name}": numpy.ones((2, 2), t) for t in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "?")}
mixed |= {"scalar": numpy.ones((), "f4"), "empty": numpy.zeros((0, 3), "f4"), 'a"\\\u00e9': numpy.zeros(1, "f2")}
seed("safetensors", "mixed", save(mixed, {"format": "pt", "k\n": "v"}))
seed("safetensors", "one", save({"a": numpy.ones(2, "f4")}))
seed("safetensors", "adapter", save(tensors()))
bf16 = b'{"b":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'
seed("safetensors", "bf16", len(bf16).to_bytes(8, "little") + bf16 + b"\x80\x3f\x00\x40")
fp8 = b'{"__metadata__":null,"b":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]},"c":{"dtype":"F4","shape":[2],"data_offsets":[4,5]}} '
seed("safetensors", "fp8", len(fp8).to_bytes(8, "little") + fp8 + b"12345")

for name, more in {
    "plain": {}, "rslora": {"use_rslora": True}, "dora": {"use_dora": True}, "regex": {"target_modules": r".*\.(q|v)$"},
    "patterns": {"rank_pattern": {"q": 1}, "alpha_pattern": {"m.0.v": 4}, "r": 1},
    "layers": {"layers_to_transform": [0], "layers_pattern": "m", "exclude_modules": ["k"]},
    "null": {"base_model_name_or_path": None, "task_type": "CAUSAL_LM", "bias": "none", "init_lora_weights": True},
}.items():
    seed("peft", name, config(**more).encode() + b"\0" + save(tensors(), {"format": "pt"}))
kinds = {"base_model.model.e.lora_embedding_A": (1, 4), "base_model.model.e.lora_embedding_B": (3, 1),
         "base_model.model.c.lora_A.weight": (1, 2, 3), "base_model.model.c.lora_B.weight": (2, 1, 1),
         "base_model.model.q.lora_A.weight": (1, 3), "base_model.model.q.lora_B.weight": (2, 1),
         "base_model.model.q.lora_magnitude_vector": (2,)}
weights = save({k: random.standard_normal(s).astype("f4") for k, s in kinds.items()})
seed("peft", "kinds", config(target_modules=["e", "c", "q"], use_dora=True).encode() + b"\0" + weights)

line = {"path": "a", "task": "t", "run": "r", "split": "train", "text": "words", "scores": {"accuracy": 0.5}}
seed("manifest", "bits", json.dumps(line | {"bits": "01"}) + "\n" + json.dumps({"path": "b", "bits": "10"}) + "\n")
seed("manifest", "vector", json.dumps(line | {"condition": [0.5, -1e-3]}) + "\r\n\n" + json.dumps({"path": "b", "condition": [1, 2]}))
seed("manifest", "none", '{"path": "./a/"}\n{"path": "b", "split": "test"}')
for name in "ab":
    folder = HERE / "manifest" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(config())
    (folder / "adapter_model.safetensors").write_bytes(save(tensors()))

packed = {}
for key, value in tensors().items():
    packed[key] = random.integers(-128, 128, (2, *value.shape), dtype=numpy.int8)
    packed[key + ".scale"] = numpy.full(value.shape, 0.01, "f4")
    packed[key + ".mean"] = value
manifest = '{"path": "a", "bits": "01"}\n{"path": "b", "bits": "10"}\n'
seed("packed", "two", save(packed, {"format": "loragen.corpus", "version": "1", "manifest": manifest,
                                    "adapter_config": config()}))
