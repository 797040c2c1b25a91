#!/usr/bin/env python3
"""One picture through vision towers: this library, PyTorch eager and ONNX Runtime, taking turns in one run, two threads each.

    Benchmarks/encoders/pictures.py [--json FILE] [--runs N]        Python with torch, transformers, pillow, onnx, onnxruntime

Random weights of the real sizes: ViT-B/16 (197 tokens) and CLIP-B/32 (50 tokens), 224 x 224. Ours reads the picture's pixels,
resizes, crops and normalises as well; the other two get the processor's output. Least time of each, and the ratio of others to
ours; multiplications a second from the tower's sizes. PICTURES names the program of Tests/acceptance/pictures.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "Tests/acceptance"))
import numpy
import onnxruntime
import torch
import transformers
from pictures import CLIPImageProcessorPil, Library, ViTImageProcessorPil, noise
from PIL import Image

THREADS = 2


def giga(config):
    """Multiplications and additions of one picture, in thousand millions."""
    tokens = (config.image_size // config.patch_size) ** 2 + 1
    d, hidden = config.hidden_size, config.intermediate_size
    layer = tokens * (4 * d * d + 2 * d * hidden) + 2 * tokens * tokens * d
    return 2 * (config.num_hidden_layers * layer + tokens * 3 * config.patch_size**2 * d) / 1e9


def models():
    vit, clip = transformers.ViTConfig(), transformers.CLIPVisionConfig()
    yield "ViT-B/16", transformers.ViTModel(vit), ViTImageProcessorPil(), vit
    yield "CLIP-B/32", transformers.CLIPVisionModelWithProjection(clip), CLIPImageProcessorPil(), clip


class Pooled(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pixels):
        out = self.model(pixel_values=pixels)
        return out.image_embeds if hasattr(out, "image_embeds") else out.pooler_output


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--runs", type=int, default=12, help="rounds of five runs each")
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    torch.manual_seed(1)
    results = {}
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        library = Library(folder)
        image = Image.fromarray(noise(500, 375, 3))
        picture = folder / "picture.png"
        image.save(picture)
        for name, model, processor, config in models():
            place = folder / name.replace("/", "-")
            model.eval().save_pretrained(place)
            processor.save_pretrained(place)
            pixels = processor(image, return_tensors="pt")["pixel_values"]
            network = Pooled(model).eval()
            path = folder / "model.onnx"
            torch.onnx.export(network, (pixels,), path, dynamo=False, input_names=["pixels"], output_names=["pooled"])
            settings = onnxruntime.SessionOptions()
            settings.intra_op_num_threads, settings.inter_op_num_threads = THREADS, 1
            session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
            given = {"pixels": pixels.numpy()}
            with torch.inference_mode():
                want = network(pixels).numpy().reshape(-1)
            got = library(numpy.float32, encode=str(picture), folder=str(place))[-want.size:]
            assert abs(want - got).max() < 1e-4, abs(want - got).max()
            assert abs(want - session.run(None, given)[0].reshape(-1)).max() < 1e-3
            best = {"loragen": 9e9, "onnxruntime": 9e9, "pytorch": 9e9}
            # Spinning threads of one would take the time of the next.
            for _ in range(options.runs):
                times = library(numpy.float32, time=str(picture), folder=str(place), runs=5, threads=THREADS)
                best["loragen"] = min(best["loragen"], float(times.min()))
                for other in ("onnxruntime", "pytorch"):
                    time.sleep(0.2)
                    for _ in range(5):
                        start = time.perf_counter()
                        if other == "onnxruntime":
                            session.run(None, given)
                        else:
                            with torch.inference_mode():
                                network(pixels)
                        best[other] = min(best[other], (time.perf_counter() - start) * 1e3)
                time.sleep(0.2)
            results[name] = {
                "milliseconds": {k: round(v, 2) for k, v in best.items()},
                "gigaflops a second": round(giga(config) / best["loragen"] * 1e3, 1),
                "times as fast as": {k: round(best[k] / best["loragen"], 2) for k in ("onnxruntime", "pytorch")}}
            print(name, json.dumps(results[name]), flush=True)
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
    if options.json:
        versions = {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__}
        options.json.write_text(json.dumps({"cpu": cpu, "threads": THREADS, "versions": versions, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
