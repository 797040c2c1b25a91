"""Gives every file of a folder to the reference safetensors reader; each must be accepted.

    python3 reference.py FOLDER
"""

import sys
from pathlib import Path

from safetensors import SafetensorError, deserialize

rejected = []
count = 0
for path in sorted(Path(sys.argv[1]).iterdir()):
    count += 1
    try:
        deserialize(path.read_bytes())
    except SafetensorError as error:
        rejected.append((path, error))
for path, error in rejected[:10]:
    print(f"FAIL  accepted here, rejected by the reference: {path.read_bytes()[:300]!r}: {error}")
    kept = Path(".build-fuzz/artifacts") / f"rejected-{path.name}"
    kept.write_bytes(path.read_bytes())
print(f"{'FAIL' if rejected else 'ok'}    reference safetensors: {count} accepted inputs, {len(rejected)} rejected by it")
sys.exit(bool(rejected))
