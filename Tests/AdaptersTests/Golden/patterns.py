"""What Python's own `re` says of patterns and names: patterns.json, for PythonPatternTests.

python3.11 patterns.py [COUNT [SEED]]      COUNT random patterns beside those written here
"""
import json
import random
import re
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
NAMES = ["", "a", "b", "ab", "aab", "abab", "A", "k", "\n", "a\n", "a\nb", "x1", "1", "12", "_", "-", ".", "]", "^", "{", "x{2}",
         "q_proj", "k_proj", "model.layers.0.self_attn.q_proj", "model.layers.11.mlp.down_proj", "language_model.layers.3.mlp.up_proj",
         "visual.blocks.0.attn.qkv", "xq_proj", "q_projx", "a b", "\t", "\x1c", "\u00a0", "\u3000", "\u00e9", "\u0663", "\u00b2", "\u2167",
         "\u4e2d", "a\u0301", "\U0001d7d8", "\u180e", "\x85", "aaaaaaaaaaaa", "aaaaaaaaaaaab", "\\", "[:alpha:]", "E", "Q", "layers.1.q\n"]

UNSLOTH = (r"(?:.*?(?:language|text).*?(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense).*?"
           r"(?:k_proj|v_proj|q_proj|out_proj|fc1|fc2|o_proj|gate_proj|up_proj|down_proj).*?)|"
           r"(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense)\."
           r"(?:(?:k_proj|v_proj|q_proj|out_proj|fc1|fc2|o_proj|gate_proj|up_proj|down_proj)))")
# Read, and to be read alike.
READ = [
    UNSLOTH, r"^(language_model|model\.language_model)(?=\.).*\.(k_proj|q_proj|down_proj|up_proj)$",
    r"^(?!.*(?:visual|audio)).*\.(q_proj|up_proj)$", r"^(?:(?!visual)\w+\.)+q_proj", r".*(?<!visual)\.layers\.\d+\.mlp\.\w+",
    r".*\bmodel\b.*(q|k)_proj", r"\bq_proj\b", r"(?<=a)b|ab", r"a(?=b)b", r"a(?!b).*", r"(?<=^a)b|.*(?<=a)b", r"(?<!x)q_proj",
    r"\Aq_proj\Z", r"a$", r"a$\n", r"^a$", r"a\Z", r".", r"(?s).", r"(?s:.)", r"(?s)a.b", r"a.b", r"[^.]+\.\d+", r"\d", r"\D", r"\w", r"\W",
    r"\s", r"\S", r"[\d]", r"[^\d]", r"[\D]", r"[^\D]", r"[\w.]+", r"[^\w]", r"[\W]", r"[^\W]", r"[a\W]", r"[^a\W]", r"[\s]", r"[^\S]", r"[\S\n]",
    r"[^\W\d_]", r"[a-c\D]", r"\B", r"\b", r"a\b.*", r".*\Bb", r"\w+\b", r"(?i)q_PROJ", r"(?i)[a-c]+", r"(?i)K", r"(?i:A)b", r"(?i)(?-i:A)B",
    r"(?u)a", r"(?is)A.B", r"(?i)(?s)A.B", r"a{2}b", r"a{,2}b", r"a{2,}b?", r"a{,}b", r"x{", r"x{2", r"x\{2}", r"{", r"{}", r"x{a}", r"x{2,a}", r"a{0}b",
    r"a*?b", r"a+?b+?", r"a?", r"a??b?", r"a*+b", r"a++b", r"(?:ab)++", r"(?>a+)b", r"(?>a|ab)b", r"a++a", r"(a*)*", r"(a|b)*", r"(?:a|ab)(?:b|)",
    r"(?P<n>x)?1", r"(?P<a>a)(?P<b>b)", r"()", r"(|a)+", r"a|", r"|a", r"", r"[]a]", r"[^]a]", r"[]-a]", r"[a-]", r"[-a]", r"[a\-b]", r"[a\]]", r"[.]",
    r"[[:alpha:]]", r"[:alpha:]+", r"[^[:alpha:]]+", r"[\b]", r"[\n]", r"\n", r"\t", r"\x61", r"\u0061", r"\U00000061", r"[\x61-\u0063]", r"\x00", r"\.",
    r"\-", r"\_", r"\]", r"]", r"}", r"\ ", "a b", r"\\", r"#", r"a#", "\u00e9", "[\u00e0-\u00ff]", r"\u0663", "\u4e2d|a", r"[&&a]", r"[a||b]", r"[+--b]", r"[~~]",
    r"(a+)+", r"(a|aa)+b", r"(?:a?){12}a{12}", r"(?=.*b)(?=.*a).*", r"(?=(?=a)).*", r"(?<=(?<=a)b)|ab", r"(?<=a|b)b|.*", r"(?<=a{2})b|.*(?<=[ab]{2})",
    r"(?<=\ba)b|ab", r"(?!)|a", r"(?=)a", r".*\.(?:[02468]|1[0-5])\..*",
]
# To be refused, by Python too.
WRONG = ["(", ")", "a)", "[", "[a", "[]", "*", "+a", "a**", "a*+*", "a{2}{3}", "a{2}*", "^*", "$+", r"\b*", "a\\", "[b-a]", r"[\d-z]", r"[a-\d]", "x{3,2}",
         "(?P=n)", "(?P<1>a)", "(?P<a>b)(?P<a>c)", "(?P<>a)", "(?P>n)", "(?<n>a)", "(?'n'a)", "(?|a|b)", "(?R)", "(?0)", "(?1)", "(?+1)", "(?&n)", "(?C1)",
         "(*FAIL)", "(*UTF)a", "(*ACCEPT)", "a(*COMMIT)", r"\Qa.b\E", r"\E", r"\R", r"\X", r"\h", r"\H", r"\K", r"a\Kb", r"\G", r"\C", r"\z", r"\p{L}", r"\pL", r"\P{L}",
         r"\g{1}", r"\k<n>", r"\o{141}", r"\cA", r"\e", r"\l", r"\i", r"\y", r"\x6", r"\x{61}", r"\u006", r"\1", r"(a)\2", r"[\z]", r"[\A]", r"[\B]", r"[\Z]", r"[\h]",
         "a(?i)b", "(?z)a", "(?)", "(?", "(?:", "(?i", "(?i-i:a)", "(?i-:a)", "(?-:a)", "(?<=a+)b", "(?<=a|bc)b", "(?<=a?)b", "(?<=(?:a|bc))", "(?<!a*)b", "a|*", "(*a)",
         "(?:*a)", "(?<", "(?<a", "(?P", "(?P<a", "(?(", "?", "{1}", "{,}", "(?=a"]
# Python reads these; they are refused all the same.
UNREAD = [r"(a)\1", r"(?P<n>a)(?P=n)", r"(a)?(?(1)b|c)", r"(?x)a b", r"(?m)^a$", r"(?a)\w", r"(?#note)a", r"\0", r"\101", r"\N{LATIN SMALL LETTER A}", r"(?=a)*a",
          "(?i)\u00e9", r"(?i)\u00e9", "a{65536}", "((x{900}){900}){900}", "(" * 101 + ")" * 101, "a" * 65537]
ATOMS = ["a", "b", "ab", ".", r"\.", r"\d", r"\w", r"\s", r"\D", r"\W", r"\S", "[ab]", "[^a]", r"[\w.]", r"[^\W]", r"[a\D]", r"\b", r"\B", "^", "$", r"\A", r"\Z", "_",
         "q_proj", "(", ")", "(?:", "|", "*", "+", "?", "{2}", "{1,}", "{,2}", "??", "*?", "*+", "(?=", "(?!", "(?<=", "(?<!", "(?>", "{", "}", "[", "]", "-", "[]", "\n", "1"]


def judged(pattern):
    """For each name whether fullmatch finds it, and whether match does with the pattern as a key of rank_pattern."""
    rows = []
    for text, call in ((pattern, "fullmatch"), (rf"(.*\.)?({pattern})$", "match")):
        try:
            compiled = re.compile(text)
        except (re.error, OverflowError, RecursionError):
            rows.append(None)
            continue
        rows.append("".join("1" if getattr(compiled, call)(name) else "0" for name in NAMES))
    return rows


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    draw = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    for pattern in READ:
        re.compile(pattern)
    for pattern in WRONG:
        try:
            re.compile(pattern)
        except (re.error, OverflowError):
            continue
        raise SystemExit(f"Python reads {pattern}")
    rows = [[p, "read", *judged(p)] for p in READ] + [[p, "wrong"] for p in WRONG] + [[p, "unread"] for p in UNREAD]
    drawn = 0
    while drawn < count:
        pattern = "".join(draw.choice(ATOMS) for _ in range(draw.randint(1, 8)))
        both = judged(pattern)
        # Most drawn texts are no patterns; a tenth of those is enough.
        if both[0] is None and draw.random() < 0.9:
            continue
        rows.append([pattern, "drawn", *both])
        drawn += 1
    text = json.dumps({"python": sys.version.split()[0], "names": NAMES, "patterns": rows}, ensure_ascii=True, separators=(",", ":"))
    (Path(__file__).parent / "patterns.json").write_text(text.replace('],["', '],\n["') + "\n")


if __name__ == "__main__":
    main()
