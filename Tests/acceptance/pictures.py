#!/usr/bin/env python3
"""Pictures and vision towers against Pillow and transformers.

    pictures.py [LORAGEN]     PICTURES=FILE names the program of Tests/acceptance/pictures, which is built otherwise

Pictures of every kind (sizes from 1 x 1 to 4000 x 30, every mode of PNG, JPEG and WebP that Pillow writes or that is made
here byte by byte, all orientations) are decoded, resized and cropped on both sides: decoding equals Pillow's convert("RGB"),
or its composite on white; after the processor's resize and crop no grey level differs by more than one. Towers of every
architecture with random weights: every layer's states and the pooled vector within 1e-4.
"""

import io
import itertools
import json
import os
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import numpy
import torch
import transformers
from PIL import Image, ImageCms, ImageFilter, ImageOps  # noqa: F401
from transformers.image_transforms import convert_to_rgb
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

ROOT = Path(__file__).resolve().parent.parent.parent
random = numpy.random.default_rng(1)
failures = 0


def claim(title, held, detail=""):
    global failures
    failures += not held
    print(f"{'ok  ' if held else 'FAIL'}  {title}{': ' + detail if detail else ''}", flush=True)


def program():
    if "PICTURES" in os.environ:
        return os.environ["PICTURES"]
    build = ["swift", "build", "-c", "release", "--product", "pictures", "--scratch-path", ".build-bench"]
    subprocess.run(build, cwd=ROOT, env=os.environ | {"LORAGEN_BENCHMARKS": "1"}, check=True, stdout=sys.stderr)
    return ROOT / ".build-bench/release/pictures"


class Library:
    def __init__(self, folder):
        self.to = folder / "out"
        self.process = subprocess.Popen([program()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __call__(self, dtype=numpy.uint8, **job):
        self.process.stdin.write(json.dumps(job | {"to": str(self.to)}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise ValueError(answer["error"])
        return numpy.fromfile(self.to, dtype).reshape(answer["shape"])


# ---- pictures

def noise(width, height, channels, depth=8):
    """Smooth in parts, hard edges in others: what filters ring on."""
    top = (1 << depth) - 1
    x, y = numpy.meshgrid(numpy.arange(width), numpy.arange(height))
    waves = [0.5 + 0.5 * numpy.sin(x * random.uniform(0.01, 1) + y * random.uniform(0.01, 1) + c) for c in range(channels)]
    image = numpy.stack(waves, -1)
    image[random.random((height, width)) < 0.1] = random.integers(0, 2, channels)
    image[: height // 3] = image[: height // 3] > 0.5
    values = numpy.round(image * top).astype(numpy.uint16 if depth > 8 else numpy.uint8)
    return values[..., 0] if channels == 1 else values


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def png(samples, depth, colour, extra=b"", interlaced=False):
    """A PNG of samples [height, width, channels] of any depth, byte by byte."""
    samples = samples if samples.ndim == 3 else samples[..., None]

    def rows(part):
        data = b""
        for row in part:
            flat = row.reshape(-1)
            if depth == 16:
                packed = flat.astype(">u2").tobytes()
            elif depth == 8:
                packed = flat.astype(numpy.uint8).tobytes()
            else:
                bits = ((flat[:, None] >> numpy.arange(depth)[::-1]) & 1).astype(numpy.uint8).reshape(-1)
                packed = numpy.packbits(bits).tobytes()
            data += b"\0" + packed
        return data

    if interlaced:
        parts = [samples[y::dy, x::dx] for x, y, dx, dy in PASSES]
        raw = b"".join(rows(part) for part in parts if part.size)
    else:
        raw = rows(samples)
    header = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], depth, colour, 0, 0, int(interlaced))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b""))


def saved(image, format, **options):
    to = io.BytesIO()
    image.save(to, format, **options)
    return to.getvalue()


def exif(orientation):
    data = Image.Exif()
    data[0x0112] = orientation
    return data


def pictures(w=45, h=31):
    """Name and bytes of each; those without a size in their name are w x h."""
    for interlaced in (False, True):
        kind = "interlaced " if interlaced else ""
        for depth in (1, 2, 4, 8, 16):
            yield f"png {kind}grey {depth}", png(noise(w, h, 1, depth), depth, 0, interlaced=interlaced)
        for depth in (8, 16):
            yield f"png {kind}rgb {depth}", png(noise(w, h, 3, depth), depth, 2, interlaced=interlaced)
            yield f"png {kind}grey alpha {depth}", png(noise(w, h, 2, depth), depth, 4, interlaced=interlaced)
            yield f"png {kind}rgba {depth}", png(noise(w, h, 4, depth), depth, 6, interlaced=interlaced)
        for depth in (1, 2, 4, 8):
            palette = chunk(b"PLTE", random.integers(0, 256, 3 << depth, numpy.uint8).tobytes())
            alpha = chunk(b"tRNS", random.integers(0, 256, 1 << depth >> 1, numpy.uint8).tobytes())
            index = random.integers(0, 1 << depth, (h, w)).astype(numpy.uint8)
            yield f"png {kind}palette {depth}", png(index, depth, 3, palette, interlaced=interlaced)
            yield f"png {kind}palette alpha {depth}", png(index, depth, 3, palette + alpha, interlaced=interlaced)
    short = chunk(b"PLTE", random.integers(0, 256, 60, numpy.uint8).tobytes())
    yield "png palette too short", png(random.integers(0, 40, (h, w)).astype(numpy.uint8), 8, 3, short)
    yield "png rgb key", png(numpy.round(noise(w, h, 3) / 85).astype(numpy.uint8) * 85, 8, 2, chunk(b"tRNS", struct.pack(">HHH", 255, 255, 255)))
    yield "png grey key", png(numpy.round(noise(w, h, 1) / 85).astype(numpy.uint8) * 85, 8, 0, chunk(b"tRNS", struct.pack(">H", 85)))
    yield "png gamma", png(noise(w, h, 3), 8, 2, chunk(b"gAMA", struct.pack(">I", 100000)))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for size in [(1, 1), (1, 50), (50, 1), (2, 3), (7, 5), (16, 16), (17, 33), (640, 480), (4000, 30), (30, 4000), (1000, 999)]:
        rgb = Image.fromarray(noise(*size, 3))
        yield f"png {size}", saved(rgb, "PNG", icc_profile=profile)
        yield f"jpeg {size}", saved(rgb, "JPEG", quality=90)
        yield f"webp {size}", saved(rgb, "WEBP", quality=80)
    rgb, rgba = Image.fromarray(noise(w, h, 3)), Image.fromarray(noise(w, h, 4))
    for subsampling, progressive, quality in itertools.product((0, 1, 2), (False, True), (10, 75, 100)):
        yield (f"jpeg {subsampling} {'progressive ' if progressive else ''}{quality}",
               saved(rgb, "JPEG", subsampling=subsampling, progressive=progressive, quality=quality))
    yield "jpeg keep rgb", saved(rgb, "JPEG", keep_rgb=True)
    yield "jpeg restart", saved(rgb, "JPEG", restart_marker_blocks=1)
    yield "jpeg grey", saved(Image.fromarray(noise(w, h, 1)), "JPEG")
    for quality in (50, 95):
        yield f"jpeg cmyk {quality}", saved(Image.fromarray(noise(w, h, 4), "CMYK"), "JPEG", quality=quality)
    yield "webp lossless", saved(rgb, "WEBP", lossless=True)
    yield "webp alpha", saved(rgba, "WEBP", quality=70)
    yield "webp lossless alpha", saved(rgba, "WEBP", lossless=True, exact=True)
    frames = [Image.fromarray(noise(w, h, 4)) for _ in range(3)]
    yield "webp animation", saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    yield "png animation", saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    for orientation in range(0, 10):
        for format in ("JPEG", "PNG", "WEBP"):
            yield f"{format} orientation {orientation}", saved(rgb, format, exif=exif(orientation))
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    yield "jpeg xmp", saved(rgb, "JPEG", xmp=packet)
    yield "webp xmp", saved(rgb, "WEBP", xmp=packet)


def expected(image, white):
    return convert_to_rgb(image, return_numpy=True) if white else numpy.array(image.convert("RGB"))


def decoding(library, folder):
    worst, count = {}, 0
    for name, data in pictures():
        path = folder / "picture"
        path.write_bytes(data)
        image = Image.open(path)
        image.load()
        for white, upright in ((True, True), (False, False)):
            got = library(decode=str(path), white=white, upright=upright)
            shown = ImageOps.exif_transpose(image) if upright else image
            want = expected(shown, white)
            count += 1
            if got.shape != want.shape:
                worst[name] = f"shape {got.shape}, not {want.shape}"
            elif (got != want).any():
                worst[f"{name} {'white' if white else 'dropped'}"] = f"by {abs(got.astype(int) - want).max()}"
    claim(f"{count} decoded pictures equal Pillow's", not worst, ", ".join(f"{k} {v}" for k, v in worst.items()))


PROCESSORS = {
    "vit": ViTImageProcessorPil(), "clip": CLIPImageProcessorPil(), "bit": BitImageProcessorPil(size={"shortest_edge": 256}),
    "siglip": SiglipImageProcessorPil(), "vit lanczos": ViTImageProcessorPil(resample=1, size={"height": 96, "width": 64}),
    "vit box": ViTImageProcessorPil(resample=4, size={"height": 33, "width": 57}),
    "vit hamming": ViTImageProcessorPil(resample=5, size={"height": 33, "width": 57}),
    "vit nearest": ViTImageProcessorPil(resample=0, size={"height": 50, "width": 90}),
    "clip pad": CLIPImageProcessorPil(size={"shortest_edge": 20}, crop_size={"height": 35, "width": 28}),
    "clip no resize": CLIPImageProcessorPil(do_resize=False, crop_size={"height": 64, "width": 63}),
    "clip bilinear": CLIPImageProcessorPil(resample=2, size={"shortest_edge": 31}, crop_size=31),
    "siglip raw": SiglipImageProcessorPil(do_rescale=False), "siglip plain": SiglipImageProcessorPil(do_normalize=False),
}


def processing(library, folder):
    count, other, worst, numbers = 0, 0, 0, 0.0
    bad = []
    for name, processor in PROCESSORS.items():
        place = folder / name
        processor.save_pretrained(place)
        plain = type(processor)(**{k: v for k, v in processor.to_dict().items() if k != "image_processor_type"})
        plain.do_rescale = plain.do_normalize = False
        for title, data in pictures():
            path = folder / "picture"
            path.write_bytes(data)
            image = ImageOps.exif_transpose(Image.open(path))
            # A processor without do_convert_rgb expects three channels.
            array = convert_to_rgb(image, return_numpy=True)
            want = plain(Image.fromarray(array), return_tensors="np")["pixel_values"][0].transpose(1, 2, 0).astype(int)
            got = library(frame=str(path), folder=str(place)).astype(int)
            if got.shape != want.shape:
                bad.append(f"{name}, {title}: {got.shape}, not {want.shape}")
                continue
            difference = abs(got - want).max() if got.size else 0
            count, other, worst = count + 1, other + (difference > 0), max(worst, difference)
            if difference > 1:
                bad.append(f"{name}, {title}: by {difference}")
            full = processor(Image.fromarray(array), return_tensors="np")["pixel_values"][0]
            ours = library(numpy.float32, prepare=str(path), folder=str(place))
            if difference == 0:
                numbers = max(numbers, abs(full - ours).max())
    claim(f"{count} pictures after the processors: within one grey level, {other} differ at all", not bad, "; ".join(bad[:8]))
    claim(f"normalised values of the same levels within 1e-6 ({numbers:.1e})", numbers <= 1e-6)


# ---- towers

SIZES = dict(hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=80, image_size=32, patch_size=8)
DINO = {k: v for k, v in SIZES.items() if k != "intermediate_size"} | dict(mlp_ratio=3)
TEXT = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, vocab_size=50, bos_token_id=1,
            eos_token_id=2)


def towers(SIZES=SIZES, DINO=DINO):
    """Name, model, its processor, how to get its last states and pooled vector, and how it is saved."""
    side = SIZES["image_size"]
    square = {"height": side, "width": side}
    vit = ViTImageProcessorPil(size=square)
    clip = CLIPImageProcessorPil(size={"shortest_edge": side + 4}, crop_size=square)
    bit = BitImageProcessorPil(size={"shortest_edge": side + 4}, crop_size=square)
    siglip = SiglipImageProcessorPil(size=square)

    def base(model, pixels):
        out = model(pixel_values=pixels, output_hidden_states=True)
        return out.last_hidden_state, out.pooler_output, out.hidden_states

    def cls(model, pixels):
        out = model(pixel_values=pixels, output_hidden_states=True)
        return out.last_hidden_state, out.last_hidden_state[:, 0], out.hidden_states

    def vision(model, pixels):
        return base(model.vision_model, pixels)

    def projected(model, pixels):
        last, pooled, states = vision(model, pixels)
        return last, model.visual_projection(pooled), states

    def mean(model, pixels):
        out = model(pixel_values=pixels, output_hidden_states=True)
        return out.last_hidden_state, out.last_hidden_state.mean(1), out.hidden_states

    T = transformers
    yield "vit", T.ViTModel(T.ViTConfig(**SIZES)), vit, base, {}
    yield "vit f16", T.ViTModel(T.ViTConfig(**SIZES)).half(), vit, base, {}
    yield "vit bf16", T.ViTModel(T.ViTConfig(**SIZES)).bfloat16(), vit, base, {}
    yield "vit in parts", T.ViTModel(T.ViTConfig(**SIZES)), vit, base, {"max_shard_size": "40KB"}
    yield "vit without biases", T.ViTModel(T.ViTConfig(**SIZES, qkv_bias=False, hidden_act="relu")), vit, base, {}
    yield "vit to classify", T.ViTForImageClassification(T.ViTConfig(**SIZES)), vit, lambda m, x: cls(m.vit, x), {}
    yield "dinov2", T.Dinov2Model(T.Dinov2Config(**DINO)), bit, base, {}
    yield "dinov2 gated", T.Dinov2Model(T.Dinov2Config(**DINO, use_swiglu_ffn=True)), bit, base, {}
    yield "dinov2 to classify", T.Dinov2ForImageClassification(T.Dinov2Config(**DINO)), bit, lambda m, x: base(m.dinov2, x), {}
    for size in ({"height": 48, "width": 48}, {"height": 27, "width": 60}, {"height": 16, "width": 64}):
        other = BitImageProcessorPil(size={"shortest_edge": 70}, crop_size=size)
        yield f"dinov2 at {size['width']} x {size['height']}", T.Dinov2Model(T.Dinov2Config(**DINO)), other, base, {}
    free = BitImageProcessorPil(size={"shortest_edge": side + 4}, do_center_crop=False)
    yield "dinov2 without a crop", T.Dinov2Model(T.Dinov2Config(**DINO)), free, base, {}
    yield "clip", T.CLIPVisionModel(T.CLIPVisionConfig(**SIZES)), clip, base, {}
    yield "clip gelu", T.CLIPVisionModel(T.CLIPVisionConfig(**SIZES, hidden_act="gelu")), clip, base, {}
    yield "clip projected", T.CLIPVisionModelWithProjection(T.CLIPVisionConfig(**SIZES, projection_dim=24)), clip, projected, {}
    both = T.CLIPConfig(text_config=TEXT, vision_config=SIZES, projection_dim=24)
    yield "clip with its text tower", T.CLIPModel(both), clip, projected, {}
    yield "siglip", T.SiglipVisionModel(T.SiglipVisionConfig(**SIZES)), siglip, base, {}
    yield "siglip headless", T.SiglipVisionModel(T.SiglipVisionConfig(**SIZES, vision_use_head=False)), siglip, mean, {}
    yield "siglip with its text tower", T.SiglipModel(T.SiglipConfig(text_config=TEXT, vision_config=SIZES)), siglip, vision, {}


def randomise(model):
    with torch.no_grad():
        for key, value in model.named_parameters():
            value.copy_(1 + 0.2 * torch.randn(value.shape) if "norm" in key and "weight" in key or "lambda" in key
                        else torch.randn(value.shape) * (0.15 if value.ndim > 1 else 0.3))


def encoding(library, folder):
    images = {"wide": noise(61, 45, 3), "high": noise(20, 90, 3), "small": noise(5, 7, 3)}
    for name, model, processor, run, options in towers():
        place = folder / name
        randomise(model)
        model.eval().save_pretrained(place, **options)
        processor.save_pretrained(place)
        model = model.float()
        worst = 0
        for title, array in images.items():
            path = folder / "picture.png"
            Image.fromarray(array).save(path)
            pixels = processor(Image.fromarray(array), return_tensors="pt")["pixel_values"]
            with torch.no_grad():
                last, pooled, hidden = run(model, pixels)
            for layer, states in [(None, last), *enumerate(hidden)]:
                want = numpy.concatenate([states.numpy().reshape(-1), pooled.numpy().reshape(-1)])
                got = library(numpy.float32, encode=str(path), folder=str(place), **({} if layer is None else {"layer": layer}))
                worst = max(worst, abs(want - got).max() if want.shape == got.shape else 9e9)
        claim(f"{name}: states of every layer and the pooled vector", worst <= 1e-4, f"{worst:.1e}")


def main():
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        library = Library(folder)
        if "--towers" not in sys.argv: decoding(library, folder)
        if "--towers" not in sys.argv: processing(library, folder)
        encoding(library, folder)
        library.process.stdin.close()
        claim("nothing printed", library.process.stderr.read() == "")
    return failures > 0


if __name__ == "__main__":
    sys.exit(main())
