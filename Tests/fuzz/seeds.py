"""Makes what the fuzzers start from and lean on: Tests/fuzz/corpus, training, llama and manifest.

    PYTHONPATH=bindings/python/src LORAGEN_LIBRARY=.../libloragen.so python3 Tests/fuzz/seeds.py     (numpy, safetensors, onnx)

Adapters and models are written here; files of the library's own (generators, adapters in other formats) by the library.
An input of several files has each behind its length in 32 bits.
"""

import base64
import json
import shutil
import struct
import tempfile
from pathlib import Path

import loragen
import numpy
import onnx
from loragen import DType, Format
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save

HERE = Path(__file__).parent
random = numpy.random.default_rng(1)
LLAMA = "architecture=llama,heads=2,kv-heads=1"


def seed(target, name, *parts):
    data = [part if isinstance(part, bytes) else part.encode() for part in parts]
    path = HERE / "corpus" / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data[0] if len(data) == 1 else b"".join(struct.pack("<I", len(part)) + part for part in data))


def numbers(*shape):
    return random.standard_normal(shape).astype("f4")


def config(**more):
    return json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q", "v"], **more})


# Modules of adapters: name, shapes of A, B and, with DoRA, of the magnitudes.
LINEAR = {"m.layers.0.q": [(2, 4), (3, 2)], "m.layers.1.v": [(2, 3), (4, 2)]}
DORA = {name: shapes + [(shapes[1][0],)] for name, shapes in LINEAR.items()}
CONVOLUTIONS = {"m.c": [(2, 2, 3), (4, 2, 1)], "m.d": [(2, 2, 2, 1), (3, 2, 1, 1)], "m.layers.0.q": [(2, 4), (3, 2)]}
GROUPED = {"m.g": [(4, 3, 2), (4, 2, 1)], "m.layers.0.q": [(4, 4), (3, 4)]}
DORA_GROUPED = {"m.g": [(4, 3, 2), (4, 2, 1), (1, 4, 1)], "m.layers.0.q": [(4, 4), (3, 4), (3,)]}
EMBEDDING = {"m.e": [(2, 5), (3, 2)], "m.layers.0.q": [(2, 4), (3, 2)]}
ATTENTION = {f"model.layers.{layer}.self_attn.{kind}_proj": [(2, 8), (8 if kind == "q" else 4, 2)]
             for layer in range(2) for kind in "qv"}
EXPERTS = {"m.layers.0.mlp.experts": [(4, 3), (4, 4)], "m.layers.0.mlp.experts.base_layer": [(4, 4), (6, 4)]}
KINDS = {
    "linear": (LINEAR, {}), "transposed": (LINEAR, {"fan_in_fan_out": True}),
    "dora": (DORA, {"use_dora": True}), "convolutions": (CONVOLUTIONS, {"target_modules": ["c", "d", "q"]}),
    "grouped": (GROUPED, {"target_modules": ["g", "q"], "r": 4}),
    "dora-grouped": (DORA_GROUPED, {"target_modules": ["g", "q"], "r": 4, "use_dora": True}),
    "embedding": (EMBEDDING, {"target_modules": ["e", "q"]}),
    "attention": (ATTENTION, {"target_modules": ["q_proj", "v_proj"], "base_model_name_or_path": "tiny"}),
    "experts": (EXPERTS, {"target_modules": [], "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
                          "base_model_name_or_path": "tiny", "peft_version": "0.19.0"}),
}


def keys(modules):
    for name, shapes in modules.items():
        is_embedding = name == "m.e"
        ends = ["lora_embedding_A", "lora_embedding_B"] if is_embedding else ["lora_A.weight", "lora_B.weight"]
        for end, shape in zip(ends + ["lora_magnitude_vector"], shapes):
            yield f"base_model.model.{name}.{end}", shape


def tensors(modules):
    return {key: numbers(*shape) for key, shape in keys(modules)}


def folder(path, kind, values=None):
    modules, more = KINDS[kind]
    path.mkdir(parents=True, exist_ok=True)
    (path / "adapter_config.json").write_text(config(**more))
    (path / "adapter_model.safetensors").write_bytes(save(values or tensors(modules), {"format": "pt"}))
    return path


def both(path):
    return (path / "adapter_config.json").read_text(), (path / "adapter_model.safetensors").read_bytes()


# ------------------------------------------------------------------------------------------- safetensors, PEFT folders

def files():
    types = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "?")
    mixed = {f"t.{numpy.dtype(t).name}": numpy.ones((2, 2), t) for t in types}
    mixed |= {"scalar": numpy.ones((), "f4"), "empty": numpy.zeros((0, 3), "f4"), 'a"\\\u00e9': numpy.zeros(1, "f2")}
    seed("safetensors", "mixed", save(mixed, {"format": "pt", "k\n": "v"}))
    seed("safetensors", "one", save({"a": numpy.ones(2, "f4")}))
    for name, header, data in (
        ("bf16", b'{"b":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}', b"\x80\x3f\x00\x40"),
        ("fp8", b'{"__metadata__":null,"b":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]},'
                b'"c":{"dtype":"F4","shape":[2],"data_offsets":[4,5]}} ', b"12345"),
    ):
        seed("safetensors", name, len(header).to_bytes(8, "little") + header + data)
    for name, more in {
        "rslora": {"use_rslora": True}, "regex": {"target_modules": r".*\.(q|v)$"},
        "patterns": {"rank_pattern": {"q": 2}, "alpha_pattern": {"m.layers.0.v": 4}},
        "layers": {"layers_to_transform": [0, 1], "layers_pattern": "layers", "exclude_modules": ["k"]},
        "null": {"base_model_name_or_path": None, "task_type": "CAUSAL_LM", "bias": "none", "init_lora_weights": True},
    }.items():
        seed("peft", name, config(**more), save(tensors(LINEAR)))


def adapters(work):
    for kind in KINDS:
        path = folder(work / kind, kind)
        seed("peft", kind, *both(path))
        seed("collection", kind, *both(path), *both(folder(work / "other", kind)))
        loragen.convert(path, work / "file.safetensors", Format.SAFETENSORS, keep_alpha=True)
        seed("adapter", kind, (work / "file.safetensors").read_bytes())
    huge = {key: value * numpy.float32(1e18) for key, value in tensors(LINEAR).items()}
    seed("collection", "huge", *both(folder(work / "huge", "linear", huge)), *both(work / "linear"))
    seed("collection", "copies", *both(work / "linear"), *both(work / "linear"))
    attention = work / "attention"
    for dtype, name in ((DType.FLOAT32, "f32"), (DType.BFLOAT16, "bf16")):
        for target, format, ending in (
            ("adapter", Format.SAFETENSORS, "safetensors"), ("gguf", Format.GGUF, "gguf"),
            ("onnx_adapter", Format.ONNX_ADAPTER, "onnx_adapter"), ("onnx", Format.ONNX, "onnx"),
        ):
            loragen.convert(attention, work / f"a.{ending}", format, dtype=dtype, base=LLAMA if target == "gguf" else None)
            seed(target, name + ".onnx" * (target == "onnx"), (work / f"a.{ending}").read_bytes())
    loragen.convert(attention, work / "a.npz", Format.NPZ)
    seed("npz", "f32", (work / "a.npz").read_bytes())
    loragen.convert(work / "convolutions", work / "a.npz", Format.NPZ, dtype=DType.FLOAT16)
    seed("npz", "f16", (work / "a.npz").read_bytes())
    unet = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    encoder = "text_encoder.text_model.encoder.layers.3.self_attn.q_proj"
    values = {f"{module}.lora_{part}.weight": numbers(*((2, 4) if part == "A" else (4, 2)))
              for module in (unet, encoder) for part in "AB"}
    seed("adapter", "diffusers", save(values))
    kohya = {}
    for module in ("lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q",
                   "lora_te_text_model_encoder_layers_3_self_attn_q_proj"):
        kohya |= {f"{module}.lora_down.weight": numbers(2, 4), f"{module}.lora_up.weight": numbers(4, 2),
                  f"{module}.alpha": numpy.ones((), "f4")}
    seed("adapter", "kohya", save(kohya))
    folder(HERE / "llama", "attention")


# ------------------------------------------------------------------------------------------------------------- corpora

def packed(kind, condition, tasks=6):
    """A packed corpus of one adapter a task: four train, one is for validation, one for the test."""
    modules, more = KINDS[kind]
    stored, lines = {}, []
    for key, shape in keys(modules):
        stored[key] = random.integers(-128, 128, (tasks, *shape), dtype=numpy.int8)
        stored[key + ".scale"] = numpy.full(shape, 0.01, "f4")
        stored[key + ".mean"] = numbers(*shape)
    for task in range(tasks):
        line = {"path": f"a{task}", "task": f"t{task}", "run": f"r{task}",
                "split": {4: "validation", 5: "test"}.get(task, "train")}
        if condition == "bits":
            line["bits"] = f"{task + 1:03b}"
        elif condition == "vector":
            line["condition"] = [float(f"{x:.3f}") for x in random.standard_normal(2)]
        elif condition == "parts":
            line["conditions"] = {"a": {"bits": f"{task % 4:02b}"}, "b": {"vector": [task, 0.5 - task]}}
        lines.append(json.dumps(line))
    return save(stored, {"format": "loragen.corpus", "version": "1", "manifest": "\n".join(lines) + "\n",
                         "adapter_config": config(**more)})


def corpora():
    line = {"path": "a", "task": "t", "run": "r", "split": "train", "text": "words", "scores": {"accuracy": 0.5}}
    seed("manifest", "bits", json.dumps(line | {"bits": "01"}) + "\n" + json.dumps({"path": "b", "bits": "10"}) + "\n")
    seed("manifest", "vector",
         json.dumps(line | {"condition": [0.5, -1e-3]}) + "\r\n\n" + json.dumps({"path": "b", "condition": [1, 2]}))
    parts = [{"a": {"bits": "01"}, "b": {"vector": [1, 2.5]}}, {"b": {"vector": [0, 0]}, "a": {"bits": "11"}}]
    seed("manifest", "parts", "\n".join(json.dumps({"path": p, "conditions": c}) for p, c in zip("ab", parts)))
    seed("manifest", "none", '{"path": "./a/"}\n{"path": "b", "split": "test"}')
    for name in "ab":
        folder(HERE / "manifest" / name, "linear")
    card = ("---\nbase_model: &b x\ndescription: >-\n  folded\n  text\ninstance_prompt: \"a \\u00e9\"\n"
            "tags: [lora, {k: v}, 1.5, *b]\n? [x]\n: y\nwidget:\n- text: 'it''s'\n  output:\n    url: images/0.png\n"
            "model-index:\n- results:\n  - metrics:\n    - {type: accuracy, value: 0.5}\n---\n# Card\n")
    helper = {"baseModel": "SDXL", "trainedWords": ["a", None, {"b": [1]}], "description": "<p>x&nbsp;&amp; y</p>",
              "model": {"name": "x", "tags": ["style"]}}
    seed("sidecar", "card", card, json.dumps(helper), "base_model: x\ninstance_prompt: a photo of sks dog\n", "A text.\n")
    seed("sidecar", "trainer", "---\r\ndescription: |+2\r\n    two\r\n---\r\n", "{}",
         "%YAML 1.1\n--- !!map\nconfig:\n  process:\n  - {trigger_word: sks, model: {name_or_path: 'x'}}\n...\n", "")
    for kind, condition in (("linear", "bits"), ("dora", "vector"), ("convolutions", "none"), ("grouped", "bits"),
                            ("embedding", "vector")):
        seed("packed", f"{kind}-{condition}", packed(kind, condition))
    (HERE / "training").mkdir(exist_ok=True)
    for condition in ("bits", "vector", "none"):
        (HERE / "training" / f"{condition}.safetensors").write_bytes(packed("linear", condition))


# ------------------------------------------------------------------------------------ generators, settings, checkpoints

SMALL = {"steps": 4, "batch": 2, "validationInterval": 2, "timesteps": 8, "samplingSteps": 2}
PERCEPTRON = {"width": 4, "layers": 1, "steps": 4, "batch": 2}
PDIFF = SMALL | {"latents": 2, "width": 4, "blocks": 1}
RPG = SMALL | {"tokenSize": 16, "width": 4, "stateSize": 2, "conditionWidth": 4, "recurrence": "lstm"}
MAMBA = {"width": 32, "recurrence": "mamba"}
METHODS = [(method, space, "factors" if space == "factors" else "default", settings)
           for method, settings in (("mean", {}), ("nearest", {}), ("ridge", {}), ("ridge-pairs", {}), ("kernel-ridge", {}),
                                    ("mlp", PERCEPTRON)) for space in ("factors", "product")]
METHODS += [
    ("cond-pdiff", "product", "default", PDIFF),
    ("cond-pdiff", "factors", "default", PDIFF | {"space": "factors", "factors": "aligned", "normaliser": "per-task"}),
    ("rpg", "product", "default", RPG | {"denoiserWidth": 4}),
    ("rpg", "factors", "tiny", RPG | {"channels": "2,2", "kernel": 3, "ema": 0.5}),
    ("rpg", "halves", "default", RPG | MAMBA | {"denoiserWidth": 4, "weights": "bfloat16"}),
]
# By condition: what adapters have in factor space, and in product space, which takes neither groups nor DoRA.
LAYOUTS = {"bits": ("dora-grouped", "convolutions"), "vector": ("grouped", "embedding"), "none": ("dora", "transposed"),
           "parts": ("linear", "linear")}


def generators(work):
    conditions = ("none", "bits", "vector")
    for place, (method, space, preset, settings) in enumerate(METHODS):
        for condition in {"mlp": ("bits", "vector", "parts"), "mean": ("none",), "nearest": ("vector",)}.get(
                method, (conditions[place % 3],)):
            kind = LAYOUTS[condition][0 if space == "factors" else 1]
            (work / "corpus.safetensors").write_bytes(packed(kind, condition))
            try:
                loragen.train(work / "corpus.safetensors", work / "g.safetensors", method=method, preset=preset,
                              settings=settings or None).close()
            except loragen.LoragenError as error:
                raise SystemExit(f"{method} {space} {condition} {kind}: {error}") from error
            seed("generator", f"{method}-{space}-{condition}", (work / "g.safetensors").read_bytes())
        seed("settings", f"{method}-{space}", f"{method} {preset}", json.dumps(settings))
    for preset, settings in (
        ("nlp-small", {"autoencoderSteps": 2, "steps": 2, "timesteps": 8, "samplingSteps": 2, "autoencoderBatch": 2, "batch": 2}),
        ("vision", {"autoencoderSteps": 2, "steps": 2, "timesteps": 8, "samplingSteps": 2, "autoencoderBatch": 2, "batch": 2}),
        ("pdiff", {"autoencoderSteps": 2, "steps": 2, "timesteps": 8, "samplingSteps": 2, "autoencoderBatch": 2, "batch": 2}),
    ):
        seed("settings", f"cond-pdiff-{preset}", f"cond-pdiff {preset}", json.dumps(settings))
    big = {"denoiser": "convolution", "tokens": "within-layer", "tokenSize": 1048576, "channels": ",".join(["16384"] * 16),
           "batch": 65536, "diffusionBatch": 0}
    seed("settings", "rpg-huge", "rpg tiny", json.dumps(big))


def requests():
    for place, (samples, steps, guidance, which, sampler, rest) in enumerate((
        (1, 0, -1, 1, "", b"011"), (2, 3, 1.5, 1, "ddim", b"101"), (1, 2, 0, 2, "ddpm", struct.pack("<2f", 0.5, -1)),
        (1, 0, -1, 0, "", b""), (3, 0, -1, 2, "", struct.pack("<2f", 1, 2)),
    )):
        fields = struct.pack("<iifIQ", samples, steps, guidance, which, 7)
        seed("request", str(place), bytes([place]) + fields + sampler.encode() + b"\0" + rest)


class Stop(Exception):
    pass


def checkpoints(work):
    """The fuzzers put their machine's fingerprint in; "kind" says which of the trainings in engine/corpora.c it is."""
    for kind, (method, preset, settings) in enumerate((
        ("mlp", "default", PERCEPTRON), ("cond-pdiff", "default", PDIFF), ("rpg", "default", RPG | {"denoiserWidth": 4}),
    )):
        path = work / "checkpoint"
        try:
            loragen.train(HERE / "training" / "bits.safetensors", work / "g.safetensors", method=method, preset=preset,
                          settings=settings, checkpoint=path, progress=lambda progress: progress.step < 2)
        except loragen.CancelledError:
            data = path.read_bytes()
            length = int.from_bytes(data[:8], "little")
            header = json.loads(data[8:8 + length])
            header["__metadata__"]["kind"] = str(kind)
            text = json.dumps(header, separators=(",", ":")).encode()
            seed("checkpoint", method, len(text).to_bytes(8, "little") + text + data[8 + length:])
            path.unlink()


# -------------------------------------------------------------------------------------------------------------- models

def gguf(values, infos):
    """A GGUF of texts and 32-bit numbers, and of tensors without their data."""
    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()
    out = b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(values))
    for key, value in values.items():
        out += text(key) + (struct.pack("<I", 8) + text(value) if isinstance(value, str) else struct.pack("<II", 4, value))
    offset = 0
    for name, shape in infos.items():
        out += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", 0, offset)
        offset += 4 * int(numpy.prod(shape))
    return out + b"\0" * (-len(out) % 32 + offset)


def model_onnx():
    weights = {name: numbers(4, 3) for name in ("w0", "w1")}
    nodes = [helper.make_node("MatMul", ["x", "w0"], ["h"], name="/m/layers.0/q/MatMul"),
             helper.make_node("Gemm", ["x", "w1"], ["g"], name="/m/layers.1/q/Gemm"),
             helper.make_node("Add", ["h", "g"], ["y"])]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def models(work):
    llama = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8, "intermediate_size": 16,
             "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4, "vocab_size": 10,
             "tie_word_embeddings": False}
    weights = {f"model.layers.{i}.self_attn.{k}_proj.weight": numbers(8 if k == "q" else 4, 8) for i in range(2) for k in "qv"}
    seed("base", "config", "0", json.dumps(llama))
    seed("base", "safetensors", "1", save(weights))
    seed("base", "index", "2", json.dumps({"metadata": {"total_size": 768}, "weight_map": {k: "model-1.safetensors" for k in weights}}))
    infos = {f"blk.{i}.attn_{k}.weight": (8, 8 if k == "q" else 4) for i in range(2) for k in "qv"}
    seed("base", "gguf", "3", gguf({"general.architecture": "llama", "llama.attention.head_count": 2,
                                    "llama.attention.head_count_kv": 1, "llama.block_count": 2}, infos))
    seed("base", "onnx", "4", model_onnx())
    seed("base", "pipeline", "5", json.dumps({"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"],
                                              "text_encoder": ["transformers", "CLIPTextModel"]}))
    linear = {"m.layers.0.q.weight": numbers(3, 4), "m.layers.1.v.weight": numbers(4, 3), "m.norm.weight": numbers(3)}
    seed("apply", "linear", save(linear, {"format": "pt"}), *both(folder(work / "x", "linear")))
    seed("apply", "half", save({k: v.astype("f2") for k, v in linear.items()}), *both(folder(work / "x", "linear")))
    convolutions = {"m.c.weight": numbers(4, 2, 3), "m.d.weight": numbers(3, 2, 2, 1), "m.layers.0.q.weight": numbers(3, 4)}
    seed("apply", "convolutions", save(convolutions), *both(folder(work / "x", "convolutions")))
    grouped = {"m.g.weight": numbers(4, 3, 2), "m.layers.0.q.weight": numbers(3, 4)}
    seed("apply", "dora-grouped", save(grouped), *both(folder(work / "x", "dora-grouped")))
    seed("apply", "embedding", save({"m.e.weight": numbers(5, 3), "m.layers.0.q.weight": numbers(3, 4)}),
         *both(folder(work / "x", "embedding")))
    adapter = {key: value for name in ("m.layers.0.q", "m.layers.1.q") for key, value in
               ((f"base_model.model.{name}.lora_A.weight", numbers(2, 4)), (f"base_model.model.{name}.lora_B.weight", numbers(3, 2)))}
    plain = (config(), save(adapter))
    seed("apply_onnx", "model", model_onnx(), *plain)
    (work / "m.onnx").write_bytes(model_onnx())
    (work / "n").mkdir()
    (work / "n/adapter_config.json").write_text(plain[0])
    (work / "n/adapter_model.safetensors").write_bytes(plain[1])
    for mode in (loragen.Apply.INJECT, loragen.Apply.INPUTS):
        loragen.apply(work / "m.onnx", work / "n", work / "o.onnx", mode)
        seed("apply_onnx", mode.name.lower(), (work / "o.onnx").read_bytes(), *plain)


def compact(work):
    weights = save({"layers.0.q.weight": numbers(6, 4), "layers.1.v.weight": numbers(3, 5).astype("f2")})
    (work / "w.safetensors").write_bytes(weights)
    for method in ("svfit", "loldu"):
        basis = loragen.Basis.compute(work / "w.safetensors", work / "b.safetensors", method=method, rank=2)
        made = loragen.CompactAdapter.create(basis, numbers(4))
        for relative in (False, True):
            made.save(work / "c.safetensors", relative)
            seed("compact", method + "-relative" * relative, (work / "b.safetensors").read_bytes(),
                 (work / "c.safetensors").read_bytes(), weights)
    golden = HERE.parent / "AdaptersTests/Golden/methods"
    for name in ("loha", "lokr", "lokr-whole", "vera"):
        seed("peft", name, (golden / name / "adapter_config.json").read_bytes(),
             (golden / name / "adapter_model.safetensors").read_bytes())


def pictures():
    golden = HERE.parent / "EncodersTests/Golden"
    for picture in json.loads((golden / "pictures.json").read_text())["pictures"]:
        data = base64.b64decode(picture["file"])
        if len(data) < 1000 and "orientation" not in picture["name"] or picture["name"].endswith("orientation 6"):
            seed("picture", "".join(c if c.isalnum() else "-" for c in picture["name"]), data)
    for name in ("clip-projected", "dinov2-gated", "dinov2-without-a-crop", "siglip"):
        files = ("config.json", "preprocessor_config.json", "model.safetensors")
        seed("image_folder", name, *((golden / "vision" / name / file).read_bytes() for file in files))


def main():
    for name in ("corpus", "training", "llama", "manifest"):
        shutil.rmtree(HERE / name, ignore_errors=True)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        files()
        adapters(work)
        corpora()
        generators(work)
        requests()
        checkpoints(work)
        models(work)
        compact(work)
        pictures()


main()
