"""Makes Tests/EncodersTests/Golden/vision: towers of every architecture, a few kilobytes each, with random weights, and what
transformers makes of a picture (Python with pillow, torch and transformers):

    python Tests/golden/vision.py
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "acceptance"))
from pictures import noise, randomise, towers  # noqa: E402

SIZES = dict(hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12, image_size=8, patch_size=4)
DINO = {k: v for k, v in SIZES.items() if k != "intermediate_size"} | dict(mlp_ratio=2)
WANTED = ["vit in parts", "dinov2 gated", "dinov2 without a crop", "clip", "clip projected", "siglip"]


def main():
    torch.manual_seed(1)
    to = ROOT / "EncodersTests/Golden/vision"
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    image = Image.fromarray(noise(13, 11, 3))
    image.save(to / "picture.png")
    for name, model, processor, run, options in towers(SIZES, DINO):
        if name not in WANTED:
            continue
        randomise(model)
        place = to / name.replace(" ", "-")
        model.eval().half().save_pretrained(place, **({"max_shard_size": "3KB"} if options else {}))
        processor.save_pretrained(place)
        with torch.no_grad():
            last, pooled, hidden = run(model.float(), processor(image, return_tensors="pt")["pixel_values"])
        numbers = {"last": last, "pooled": pooled} | {str(i): states for i, states in enumerate(hidden)}
        expected = {key: [round(x, 5) for x in value.flatten().tolist()] for key, value in numbers.items()}
        (place / "expected.json").write_text(json.dumps(expected) + "\n")
        for file in place.glob("generation_config.json"):
            file.unlink()


if __name__ == "__main__":
    main()
