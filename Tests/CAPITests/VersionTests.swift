import CAPI
import CLoragen
import Testing

@Test("The version is semantic") func version() {
    #expect(String(cString: loragen_version()).split(separator: ".").count == 3)
}
