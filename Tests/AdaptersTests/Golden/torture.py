"""Makes Golden/torture.json: a hundred safetensors files that are odd or wrong in one way each, and whether the reference
reader takes them.

    python3 torture.py             (safetensors 0.8.0)
"""

import json
import os
import struct

from safetensors import SafetensorError, deserialize

ENTRY = '"dtype":"F32","shape":[1],"data_offsets":[0,4]'
ONE = '{"a":{%s}}' % ENTRY
cases = []


def case(name, header, data=4, length=None):
    raw = header if isinstance(header, bytes) else header.encode()
    file = struct.pack("<Q", len(raw) if length is None else length) + raw + bytes(data)
    cases.append((name, file))


def entry(name, fields, data=4):
    case(name, '{"a":{%s}}' % fields, data)


def tensors(name, *places, data):
    body = ",".join('"%s":{"dtype":"%s","shape":%s,"data_offsets":%s}' % (chr(97 + i), *p) for i, p in enumerate(places))
    case(name, "{%s}" % body, data)


# ---- sizes
cases += [("empty file", b""), ("seven bytes", b"\1\0\0\0\0\0\0"), ("length only", struct.pack("<Q", 2))]
for n in (0, 1, 100_000_001, 1 << 32, 1 << 63, (1 << 64) - 1):
    case(f"length {n}", ONE, length=n)
case("length one too small", ONE, length=len(ONE) - 1)
case("length one too large", ONE, length=len(ONE) + 1)
case("header alone, cut", ONE, data=0)
# ---- text
case("not UTF-8", ONE.encode().replace(b"a", b"\xff"))
case("overlong UTF-8", ONE.encode().replace(b"a", b"\xc0\xaf"))
case("surrogate in UTF-8", ONE.encode().replace(b"a", b"\xed\xa0\x80"))
case("byte order mark", "\ufeff" + ONE)
case("NUL padding", ONE + "\0\0\0")
case("space padding", ONE + "   ")
case("newline padding", ONE + "\n")
case("leading space", " " + ONE)
case("space inside", ONE.replace(":", " : ").replace(",", "\n,\t"))
case("trailing garbage", ONE + "x")
case("two objects", ONE + "{}")
case("trailing comma", ONE[:-1] + ",}")
case("comment", "/**/" + ONE)
case("single quotes", ONE.replace('"', "'"))
case("array", "[]", 0)
case("null", "null", 0)
case("number", "1", 0)
case("string", '"a"', 0)
case("empty object", "{}", 0)
case("unclosed", ONE[:-1])
case("lone high surrogate", ONE.replace("a", "\\ud800", 1))
case("lone low surrogate", ONE.replace("a", "\\udc00", 1))
case("pair of surrogates", ONE.replace('"a"', '"\\ud83d\\ude00"', 1))
case("control character", ONE.replace('"a"', '"a\1"', 1))
case("newline in a name", ONE.replace('"a"', '"a\nb"', 1))
case("bad escape", ONE.replace('"a"', '"\\x61"', 1))
case("nested 200 deep", '{"a":' * 200 + "1" + "}" * 200, 0)
case("nested 200 deep in an unknown field", '{"a":{%s,"x":%s%s}}' % (ENTRY, "[" * 200, "]" * 200))
# ---- names
case("same name twice", '{"a":{%s},"a":{%s}}' % (ENTRY, ENTRY))
case("same name by an escape", '{"a":{%s},"\\u0061":{%s}}' % (ENTRY, ENTRY))
case("same name, another type", '{"a":{%s},"a":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}}' % ENTRY)
case("empty name", '{"":{%s}}' % ENTRY)
case("name with NUL", '{"a\\u0000b":{%s}}' % ENTRY)
case("name of 5000 bytes", '{"%s":{%s}}' % ("n" * 5000, ENTRY))
# ---- entries
case("entry is a number", '{"a":1}', 0)
case("entry is null", '{"a":null}', 0)
case("entry is an array", '{"a":["F32",[1],[0,4]]}')
entry("empty entry", "", 0)
for field in ("dtype", "shape", "data_offsets"):
    parts = {"dtype": '"F32"', "shape": "[1]", "data_offsets": "[0,4]"}
    entry(f"no {field}", ",".join(f'"{k}":{v}' for k, v in parts.items() if k != field))
    entry(f"{field} twice", ENTRY + f',"{field}":{parts[field]}')
    entry(f"{field} null", ",".join(f'"{k}":{"null" if k == field else v}' for k, v in parts.items()))
entry("unknown field", ENTRY + ',"x":1')
entry("dtype in lower case", ENTRY.replace("F32", "f32"))
entry("dtype unknown", ENTRY.replace("F32", "F128"))
entry("dtype a number", ENTRY.replace('"F32"', "7"))
entry("dtype an object", ENTRY.replace('"F32"', '{"F32":null}'))
for value in ("1.0", "1e0", "-0", "-1", '"1"', "null", "01", "18446744073709551616", "NaN", "true", "[1]"):
    entry(f"shape [{value}]", ENTRY.replace("[1]", f"[{value}]"))
entry("shape a number", ENTRY.replace("[1]", "1"))
for value in ("[4]", "[0,4,4]", "[0,4.0]", "[0,-4]", '[0,"4"]', "[4,0]", "[4,8]", "[0,5]", "[0,99999999999999999999]", "{}"):
    entry(f"offsets {value}", ENTRY.replace("[0,4]", value))
entry("another shape", ENTRY.replace("[1]", "[2]"))
entry("shape of zero", ENTRY.replace("[1]", "[0]"))
entry("shape overflows", ENTRY.replace("[1]", "[9223372036854775808,4,0]").replace("[0,4]", "[0,0]"), 0)
entry("shape zero first", ENTRY.replace("[1]", "[0,9223372036854775808]").replace("[0,4]", "[0,0]"), 0)
entry("bits overflow", ENTRY.replace("[1]", "[2305843009213693952]"))
entry("rank 9", ENTRY.replace("[1]", "[1,1,1,1,1,1,1,1,1]"))
entry("scalar", ENTRY.replace("[1]", "[]"))
entry("half a byte", '"dtype":"F4","shape":[1],"data_offsets":[0,1]', 1)
entry("two halves", '"dtype":"F4","shape":[2],"data_offsets":[0,1]', 1)
entry("six bits", '"dtype":"F6_E2M3","shape":[4],"data_offsets":[0,3]', 3)
# ---- places
tensors("hole", ("F32", "[1]", "[0,4]"), ("F32", "[1]", "[8,12]"), data=12)
tensors("overlap", ("F32", "[2]", "[0,8]"), ("F32", "[1]", "[4,8]"), data=8)
tensors("same place", ("F32", "[1]", "[0,4]"), ("F32", "[1]", "[0,4]"), data=4)
tensors("begins late", ("F32", "[1]", "[4,8]"), data=8)
tensors("nothing inside another", ("F32", "[2]", "[0,8]"), ("F32", "[0]", "[4,4]"), data=8)
tensors("nothing at the end", ("F32", "[2]", "[0,8]"), ("F32", "[0]", "[8,8]"), data=8)
tensors("nothing between", ("F32", "[1]", "[0,4]"), ("F32", "[0]", "[4,4]"), ("F32", "[1]", "[4,8]"), data=8)
tensors("misaligned", ("U8", "[1]", "[0,1]"), ("F32", "[1]", "[1,5]"), data=5)
tensors("other order", ("F32", "[1]", "[4,8]"), ("F32", "[1]", "[0,4]"), data=8)
case("a byte too many", ONE, 5)
case("a byte missing", ONE, 3)
# ---- metadata
for name, text in {"null": "null", "array": "[]", "number": '{"k":1}', "null value": '{"k":null}', "nested": '{"k":{}}',
                   "same key twice": '{"k":"1","k":"2"}', "empty": "{}", "text": '{"k":"v"}'}.items():
    case(f"metadata {name}", '{"__metadata__":%s,"a":{%s}}' % (text, ENTRY))
case("metadata twice", '{"__metadata__":{},"a":{%s},"__metadata__":{}}' % ENTRY)
case("metadata last", '{"a":{%s},"__metadata__":{"k":"v"}}' % ENTRY)
case("metadata alone", '{"__metadata__":{"k":"v"}}', 0)

rows = []
for name, file in cases:
    try:
        deserialize(file)
        verdict = True
    except SafetensorError:
        verdict = False
    rows.append({"name": name, "hex": file.hex(), "accepted": verdict})
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "torture.json"), "w") as out:
    out.write("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
print(len(rows), "cases, the reference takes", sum(row["accepted"] for row in rows))
