import CKernels
import Foundation
import Testing

@testable import Tensor

@Suite(.serialized) struct MemoryRoomTests {
    /// A folder in the place of /sys/fs/cgroup.
    private func group(_ files: [String: String], membership: String) throws -> UInt64 {
        let root = FileManager.default.temporaryDirectory.path + "/loragen-test-" + UUID().uuidString
        defer { try? FileManager.default.removeItem(atPath: root) }
        try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
        for (name, text) in files {
            let path = "\(root)/\(name)"
            try FileManager.default.createDirectory(
                atPath: URL(fileURLWithPath: path).deletingLastPathComponent().path, withIntermediateDirectories: true)
            try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        }
        try Data(membership.utf8).write(to: URL(fileURLWithPath: "\(root)/self"))
        return ControlGroup(membership: "\(root)/self", root: root).room
    }

    @Test func `a control group of version 2 leaves its limit less what cannot be taken back`() throws {
        let files = [
            "a/b/memory.max": "1000\n", "a/b/memory.current": "700\n",
            "a/b/memory.stat": "anon 300\ninactive_file 150\nactive_file 50\n", "a/memory.max": "max\n",
        ]
        #expect(try group(files, membership: "0::/a/b\n") == 500)
        #expect(try group(files.merging(["a/memory.max": "400\n"]) { $1 }, membership: "0::/a/b\n") == 400)
        #expect(try group(files.merging(["a/b/memory.current": "2000\n"]) { $1 }, membership: "0::/a/b\n") == 200)
        #expect(try group([:], membership: "0::/a/b\n") == .max)
    }

    @Test func `a control group of version 1, and one whose path only the host has`() throws {
        let files = [
            "memory/memory.limit_in_bytes": "1000\n", "memory/memory.usage_in_bytes": "100\n",
            "memory/memory.stat": "cache 5\ntotal_inactive_file 40\n",
        ]
        #expect(try group(files, membership: "4:cpu:/x\n3:memory:/docker/0123\n") == 940)
        #expect(try group(files, membership: "no line of a group\n::\n") == .max)
        #expect(try group(["memory.max": "77"], membership: "0::/kubepods/pod1\n") == 77)
    }

    @Test func `what no machine has is refused with .memory, and sizes need not be numbers`() throws {
        for bytes in [1e18, 1e30, .infinity, .nan] {
            do throws(LoragenError) {
                try Memory.require(bytes, for: "a test")
                Issue.record("\(bytes) bytes were granted")
            } catch {
                #expect(error.code == .memory && error.message.hasPrefix("a test takes about"), "\(error)")
            }
        }
        try Memory.require(0x1p20, for: "a test")
        try Memory.require(1 << 20, of: Float.self, for: "a test")
    }

    @Test func `an allocation that fails once is tried again without the buffers that were kept`() {
        let expected = Tensor<Float>((0..<4096).map { Float($0) }, shape: [64, 64])
        for after in 0..<8 {
            lk_fail_allocation(Int64(after))
            let doubled = expected + expected
            #expect(doubled.values == expected.values.map { 2 * $0 }, "allocation \(after)")
        }
        lk_fail_allocation(-1)
    }

    @Test func `numbers become whole numbers without a trap`() {
        #expect(Int(saturating: 2.9) == 2 && Int(saturating: -2.9) == -2 && Int(saturating: -0.0) == 0)
        #expect(Int(saturating: Double.nan) == 0 && Int8(saturating: Float.infinity) == 127)
        #expect(Int(saturating: 0x1p63) == .max && Int(saturating: -0x1p63) == .min && Int(saturating: -1e300) == .min)
        #expect(UInt64(saturating: -1.0) == 0 && UInt64(saturating: 0x1p64) == .max && UInt64(saturating: 7.5) == 7)
        #expect(Int32(saturating: Float(3e9)) == .max)
    }

    @Test func `indices in names are digits below 2^20`() {
        #expect(nameIndex("0") == 0 && nameIndex("1048575") == 1_048_575 && nameIndex("007") == 7)
        for text in ["", "+5", "-1", "1048576", "9223372036854775807", "18446744073709551616", "1e3", "٣", " 1", "x"] {
            #expect(nameIndex(text) == nil, "\(text)")
        }
    }
}
