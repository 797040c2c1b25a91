"""Makes Tests/EncodersTests/Golden/pictures.json: small pictures of every kind, and digests of what Pillow and the processors
of transformers make of them (Python with pillow, torch and transformers):

    python Tests/golden/pictures.py
"""

import base64
import hashlib
import io
import json
import sys
from pathlib import Path

from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "acceptance"))
from pictures import PROCESSORS, convert_to_rgb, expected, pictures  # noqa: E402

FRAMED = ["clip", "vit", "siglip", "vit lanczos", "vit box", "vit hamming", "vit nearest", "clip pad", "clip no resize"]


def digest(array):
    return {"shape": list(array.shape), "sha256": hashlib.sha256(array.astype("u1").tobytes()).hexdigest()}


def main():
    cases, processors = [], {}
    for name in FRAMED:
        processors[name] = {k: v for k, v in PROCESSORS[name].to_dict().items()}
    for name, data in pictures(13, 11):
        image = Image.open(io.BytesIO(data))
        image.load()
        if image.width * image.height > 1500 or len(data) > 1500 or name.endswith((" 75", " 100")):
            continue
        if name.split()[0] in ("PNG", "WEBP") and name[-1] in "019" or name.startswith("png interlaced palette alpha"):
            continue
        upright = ImageOps.exif_transpose(image)
        case = {"name": name, "file": base64.b64encode(data).decode(), "upright on white": digest(expected(upright, True)),
                "stored, dropped": digest(expected(image, False))}
        if name in ("png (1, 50)", "png (50, 1)", "png (16, 16)", "jpeg (7, 5)", "png rgba 8", "JPEG orientation 6"):
            case["framed"] = {}
            for title in FRAMED:
                plain = type(PROCESSORS[title])(**{k: v for k, v in processors[title].items() if k != "image_processor_type"})
                plain.do_rescale = plain.do_normalize = False
                array = Image.fromarray(convert_to_rgb(upright, return_numpy=True))
                case["framed"][title] = digest(plain(array, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0))
        cases.append(case)
    to = ROOT / "EncodersTests/Golden/pictures.json"
    to.write_text(json.dumps({"processors": processors, "pictures": cases}, indent=0) + "\n")


if __name__ == "__main__":
    main()
