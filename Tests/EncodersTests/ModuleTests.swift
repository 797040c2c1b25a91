import Cutf8proc
import Testing

@Suite struct Utf8procTests {
    @Test func `the linked tables are Unicode's of 2022 or later`() {
        let version = String(cString: utf8proc_unicode_version())
        #expect(Int(version.prefix { $0 != "." }) ?? 0 >= 15)
    }
}
