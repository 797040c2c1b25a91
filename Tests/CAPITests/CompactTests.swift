import Adapters
import CLoragen
import Files
import Formats
import Glibc
import Hosts
import Testing

@testable import CAPI

@Suite("Compact adapters through the header") struct CompactHeaderTests {
    private func make() throws -> (folder: String, base: String, basis: OpaquePointer) {
        var template = Array("/tmp/loragen-capi-XXXXXX".utf8CString)
        let folder = try #require(mkdtemp(&template).map { String(cString: $0) })
        let base = folder + "/model.safetensors"
        var writer = SafetensorsWriter()
        var state: UInt64 = 1
        let values = (0..<60).map { _ in
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Float(state >> 40) * 0x1p-24 - 0.5
        }
        try writer.add("layers.0.q_proj.weight", shape: [10, 6], elements: values)
        try writer.write(to: base)
        var options = loragen_basis_options()
        options.struct_size = MemoryLayout<loragen_basis_options>.size
        options.rank = 4
        #expect(loragen_basis_compute(base, folder + "/b.safetensors", &options) == 0)
        var basis: OpaquePointer?
        #expect(loragen_basis_open(&basis, folder + "/b.safetensors") == 0)
        return (folder, base, try #require(basis))
    }

    private func remove(_ folder: String) {
        for name in ["model", "b", "c", "a"] { unlink(folder + "/\(name).safetensors") }
        rmdir(folder)
    }

    @Test("From weights to an adapter in memory and on disk, and back")
    func round() throws {
        let (folder, base, basis) = try make()
        defer { remove(folder) }
        defer { loragen_basis_free(basis) }
        #expect(loragen_basis_check(basis, base) == 0)
        #expect(loragen_basis_module_count(basis) == 1 && loragen_basis_columns(basis, 0) == 6)
        var module = loragen_module()
        #expect(loragen_basis_module(basis, 0, &module) == 0 && module.rank == 4)
        var sigma = [Float](repeating: 0, count: 4)
        #expect(loragen_basis_factors(basis, 0, nil, &sigma, nil) == 0 && sigma[0] > sigma[3])
        var compact: OpaquePointer?
        #expect(loragen_compact_create(&compact, basis, [1, -2, 0.5, 3], 4, 0) == 0)
        defer { loragen_compact_free(compact) }
        #expect(loragen_compact_save(compact, folder + "/c.safetensors", Int32(LORAGEN_COORDINATES_RELATIVE)) == 0)
        var read: OpaquePointer?
        #expect(loragen_compact_open(&read, folder + "/c.safetensors") == 0)
        defer { loragen_compact_free(read) }
        #expect(loragen_compact_count(read) == 4 && loragen_compact_json(read) != nil)
        var adapters: OpaquePointer?
        #expect(loragen_compact_expand(&adapters, read, basis, nil) == 0)
        defer { loragen_adapters_free(adapters) }
        var captured = 0.0
        var back: OpaquePointer?
        #expect(loragen_compact_project(&back, adapters, 0, basis, -1, &captured) == 0)
        defer { loragen_compact_free(back) }
        #expect(abs(captured - 1) < 1e-5)
        let deltas = try #require(loragen_compact_deltas(back))
        for (i, value) in [Float(1), -2, 0.5, 3].enumerated() { #expect(abs(deltas[i] - value) < 1e-5) }
        #expect(
            loragen_compact_expand_file(read, basis, folder + "/a.safetensors", Int32(LORAGEN_FORMAT_SAFETENSORS), nil)
                == 0)
        var lost = 0.0
        var cut: OpaquePointer?
        #expect(loragen_compact_truncate(&cut, back, 2, &lost) == 0)
        defer { loragen_compact_free(cut) }
        #expect(abs(lost - 1.25 / 14.25) < 1e-5)
    }

    @Test("What a host can get wrong has a status and a message")
    func refusals() throws {
        let (folder, base, basis) = try make()
        defer { remove(folder) }
        defer { loragen_basis_free(basis) }
        var out: OpaquePointer?
        let invalid = Int32(LORAGEN_INVALID_ARGUMENT)
        #expect(loragen_compact_create(&out, basis, nil, 4, 0) == invalid)
        #expect(loragen_compact_create(&out, nil, [1], 1, 0) == invalid)
        #expect(loragen_compact_create(&out, basis, [1, 2], 2, 0) == Int32(LORAGEN_MISMATCH))
        #expect(loragen_compact_create(&out, basis, [1, 2], Int.max, 0) == Int32(LORAGEN_MISMATCH))
        #expect(loragen_compact_create(&out, basis, [.nan, 2, 3, 4], 4, 0) == Int32(LORAGEN_NON_FINITE))
        #expect(loragen_basis_factors(basis, 1, nil, nil, nil) == invalid)
        #expect(loragen_basis_columns(basis, -1) == 0)
        #expect(loragen_compact_save(nil, "x", 0) == invalid)
        #expect(loragen_compact_project(&out, nil, 0, basis, .nan, nil) == invalid)
        var options = loragen_basis_options()
        options.struct_size = MemoryLayout<loragen_basis_options>.size
        options.rank = -1
        #expect(loragen_basis_compute(base, folder + "/c.safetensors", &options) == invalid)
        options.rank = 2
        #expect(loragen_basis_compute(base, base, &options) == invalid)
        options.dtype = Int32(LORAGEN_Q8_0)
        #expect(loragen_basis_compute(base, folder + "/c.safetensors", &options) == invalid)
        #expect(loragen_compact_count(nil) == 0 && loragen_compact_deltas(nil) == nil && loragen_basis_json(nil) == nil)
    }
}
