import Testing

@testable import Adapters

@Suite("Python's regular expressions") struct PythonPatternTests {
    /// Each line was checked with Python 3.11's re.fullmatch.
    static let cases: [(pattern: String, yes: [String], no: [String])] = [
        ("q_proj", ["q_proj"], ["xq_proj", "q_projx", ""]), ("", [""], ["a"]), ("a|", ["a", ""], ["b", "aa"]),
        (".*(q|v)_proj", ["m.q_proj", "v_proj"], ["k_proj", "q_proj.x"]), ("a.c", ["abc", "a.c"], ["ac", "a\nc"]),
        ("a\\.c", ["a.c"], ["abc"]), ("(?:ab)+", ["ab", "abab"], ["", "aba"]),
        ("(?P<n>x)?y", ["y", "xy"], ["x", "xxy"]),
        ("x{2}", ["xx"], ["x", "xxx"]), ("x{1,2}y", ["xy", "xxy"], ["y", "xxxy"]), ("x{,2}", ["", "xx"], ["xxx"]),
        ("x{2,}", ["xx", "xxxx"], ["x"]), ("x{", ["x{"], ["x"]), ("x{a}", ["x{a}"], ["x"]), ("{}", ["{}"], [""]),
        ("layers\\.(?:[0-9]|1[0-5])\\..*", ["layers.3.q", "layers.12.q"], ["layers.16.q", "layers..q"]),
        ("[^.]+\\.\\d+", ["m.12"], ["m.", "a.b.1"]), ("[]a]", ["]", "a"], ["b"]), ("[a-c_-]", ["b", "_", "-"], ["d"]),
        ("[\\w.]+", ["a_1.B"], ["a-b", ""]), ("^a$", ["a"], ["b"]), ("(^a|b)c", ["ac", "bc"], ["c"]),
        ("x(^a)?", ["x"], ["xa"]), ("a*?b+?", ["b", "aabb"], ["a"]), ("(a*)*", ["", "aaa"], ["b"]),
        ("(a|aa)+$", ["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"], ["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"]),
        (
            ".*\\.h\\.\\d+\\.(attn|mlp)\\.c_(attn|proj|fc)", ["t.h.0.attn.c_attn", "t.h.11.mlp.c_fc"],
            ["t.h.x.mlp.c_fc"]
        ),
    ]

    @Test("Matches what Python matches", arguments: cases.indices) func matches(index: Int) throws {
        let (text, yes, no) = Self.cases[index]
        let pattern = try #require(PythonPattern(text))
        for name in yes { #expect(pattern.matches(name), "\(text) \(name)") }
        for name in no { #expect(!pattern.matches(name), "\(text) \(name)") }
    }

    @Test("What it does not understand is no pattern") func refused() {
        let patterns = [
            "(", ")", "a)", "[", "[a", "*", "+a", "a**", "a*+", "a{2}{3}", "(?=a)", "(?!a)", "(?i)a", "(?<=a)b", "\\1",
            "\\ba", "\\Z", "a\\", "[b-a]", "[\\d-z]", "x{3,2}", "x{5000}", "(?P=n)", "((x{900}){900}){900}",
            String(repeating: "(", count: 100) + String(repeating: ")", count: 100),
        ]
        for pattern in patterns { #expect(PythonPattern(pattern) == nil, "\(pattern)") }
    }
}
