import Adapters
import CAPI
import CAPISupport
import CLoragen
import Files
import Formats
import Foundation
import Hosts
import Testing

@Suite("Adapters through the C interface") final class AdaptersTests {
    let folder = NSTemporaryDirectory() + "loragen-capi-\(UUID().uuidString)"
    let adapter: Adapter

    init() throws {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let layout = try Layout(
            modules: [
                ModuleShape(name: "net.layer.0.fc", inputs: 5, outputs: 3, rank: 2, alpha: 4),
                ModuleShape(name: "head", inputs: 3, outputs: 2, rank: 1, alpha: 1, scaling: .rankStabilised),
            ], baseModel: "tiny")
        adapter = try Adapter(layout: layout, values: (0..<layout.valueCount).map { Float($0) })
        try adapter.write(to: "\(folder)/adapter", format: .peft, options: WriteOptions(form: .kept))
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    private func opened() throws -> OpaquePointer {
        var adapters: OpaquePointer?
        try #require(loragen_adapters_open(&adapters, "\(folder)/adapter") == LORAGEN_OK)
        return try #require(adapters)
    }

    @Test("Views show names, shapes and values of the file") func views() throws {
        let adapters = try opened()
        defer { loragen_adapters_free(adapters) }
        #expect(loragen_adapters_count(adapters) == 1)
        #expect(loragen_adapters_tensor_count(adapters) == adapter.tensors.count)
        for (index, expected) in adapter.tensors.enumerated() {
            var tensor = loragen_tensor()
            #expect(loragen_adapters_tensor(adapters, 0, index, &tensor) == LORAGEN_OK)
            #expect(String(cString: tensor.name) == expected.name)
            #expect(UnsafeBufferPointer(start: tensor.shape, count: 2).map { Int($0) } == expected.shape)
            #expect(Array(UnsafeBufferPointer(start: tensor.data, count: tensor.count)) == Array(expected.values))
        }
    }

    @Test("A module's update is (alpha / rank) B A, whatever its scaling was called") func modules() throws {
        let adapters = try opened()
        defer { loragen_adapters_free(adapters) }
        #expect(loragen_adapters_module_count(adapters) == adapter.layout.modules.count)
        for (index, expected) in adapter.layout.modules.enumerated() {
            var module = loragen_module()
            #expect(loragen_adapters_module(adapters, index, &module) == LORAGEN_OK)
            #expect(String(cString: module.name) == expected.name)
            #expect(module.layer == Int32(expected.layerIndex ?? -1))
            #expect(abs(module.alpha / Double(module.rank) - expected.scale) < 1e-12)
        }
    }

    @Test("DLPack shares the memory and outlives the adapters") func dlpack() throws {
        let adapters = try opened()
        var tensor = loragen_tensor()
        #expect(loragen_adapters_tensor(adapters, 0, 1, &tensor) == LORAGEN_OK)
        var out: OpaquePointer?
        #expect(loragen_adapters_dlpack(&out, adapters, 0, 1) == LORAGEN_OK)
        let managed = UnsafeMutablePointer<capi_dlpack>(try #require(out))
        #expect(managed.pointee.data == UnsafeMutableRawPointer(mutating: tensor.data))
        loragen_adapters_free(adapters)
        let expected = adapter.tensors[1]
        let values = managed.pointee.data.assumingMemoryBound(to: Float.self)
        #expect(Array(UnsafeBufferPointer(start: values, count: expected.values.count)) == Array(expected.values))
        #expect(Array(UnsafeBufferPointer(start: managed.pointee.shape, count: 2)) == expected.shape.map { Int64($0) })
        managed.pointee.deleter(managed)
    }

    @Test("Verify says what it found, and fails only where it cannot look") func verify() throws {
        let adapter = try opened()
        defer { loragen_adapters_free(adapter) }
        let path = "\(folder)/verified"
        #expect(loragen_adapters_save(adapter, 0, path, Int32(LORAGEN_FORMAT_PEFT), nil) == LORAGEN_OK)
        var verification: OpaquePointer?
        #expect(loragen_verify(&verification, path, nil, nil) == LORAGEN_OK)
        defer { loragen_verification_free(verification) }
        #expect(loragen_verification_errors(verification) == 0)
        let json = try JSON.parse(String(cString: try #require(loragen_verification_json(verification))), source: "")
        #expect(json["adapter"]?.string == path && json["errors"] == 0)
        #expect(String(cString: try #require(loragen_verification_text(verification))).hasPrefix("\(path): 0 errors"))
        #expect(loragen_verify(nil, path, nil, nil) == LORAGEN_INVALID_ARGUMENT)
        var none: OpaquePointer?
        #expect(loragen_verify(&none, nil, nil, nil) == LORAGEN_INVALID_ARGUMENT && none == nil)
        for (base, corpus) in [("\(folder)/none", nil), (nil, "\(folder)/none")] as [(String?, String?)] {
            #expect(loragen_verify(&none, path, base, corpus) != LORAGEN_OK && none == nil)
        }
        #expect(loragen_verification_errors(nil) == 0 && loragen_verification_json(nil) == nil)
        loragen_verification_free(nil)
    }

    @Test("Conversion tells what is lost, before it writes, and can be cancelled then") func conversion() throws {
        var options = loragen_convert_options()
        options.struct_size = MemoryLayout<loragen_convert_options>.size
        final class Notes { var texts: [String] = [] }
        let notes = Notes()
        options.payload = Unmanaged.passUnretained(notes).toOpaque()
        options.note = { message, payload in
            guard let message, let payload else { return 1 }
            Unmanaged<Notes>.fromOpaque(payload).takeUnretainedValue().texts.append(String(cString: message))
            return 0
        }
        let target = "\(folder)/a.onnx_adapter"
        #expect(
            loragen_convert("\(folder)/adapter", target, Int32(LORAGEN_FORMAT_ONNX_ADAPTER), &options) == LORAGEN_OK)
        #expect(notes.texts.contains { $0.contains("tiny") })
        options.note = { _, _ in 1 }
        let cancelled = "\(folder)/b.onnx_adapter"
        #expect(
            loragen_convert("\(folder)/adapter", cancelled, Int32(LORAGEN_FORMAT_ONNX_ADAPTER), &options)
                == loragen_status(LORAGEN_CANCELLED))
        #expect(!FileManager.default.fileExists(atPath: cancelled))
        var adapters: OpaquePointer?
        #expect(loragen_adapters_open_for(&adapters, target, nil) == LORAGEN_OK)
        loragen_adapters_free(adapters)
    }

    @Test("An adapter of other modules than the model's is not applied") func application() {
        let weights = "\(folder)/adapter/adapter_model.safetensors"
        let target = "\(folder)/merged.safetensors"
        #expect(
            loragen_apply(weights, "\(folder)/adapter", target, nil) == loragen_status(LORAGEN_MISMATCH))
        #expect(!FileManager.default.fileExists(atPath: target))
    }

    @Test("An older header's options have defaults where they end") func olderHeader() throws {
        let adapters = try opened()
        defer { loragen_adapters_free(adapters) }
        // `dtype` is known, `keep_alpha` is not: what lies behind must not be read.
        var options = loragen_save_options()
        options.struct_size = 12
        options.keep_alpha = 1
        let path = "\(folder)/older"
        #expect(loragen_adapters_save(adapters, 0, path, Int32(LORAGEN_FORMAT_PEFT), &options) == LORAGEN_OK)
        #expect(try Adapter.read(path: path).layout.modules.allSatisfy { $0.alpha == Double($0.rank) })
    }

    @Test("A newer header's options are refused when they are used") func newerHeader() throws {
        let adapters = try opened()
        defer { loragen_adapters_free(adapters) }
        var memory = [UInt64](repeating: 0, count: 8)
        memory[0] = 64
        let save = {
            memory.withUnsafeBytes { bytes in
                let options = bytes.baseAddress?.assumingMemoryBound(to: loragen_save_options.self)
                return loragen_adapters_save(
                    adapters, 0, "\(self.folder)/newer", Int32(LORAGEN_FORMAT_SAFETENSORS), options)
            }
        }
        #expect(save() == LORAGEN_OK)
        memory[6] = 1
        #expect(save() == LORAGEN_UNSUPPORTED)
        for size: UInt64 in [0, 7, 4097, .max] {
            memory[0] = size
            #expect(save() == LORAGEN_INVALID_ARGUMENT)
        }
    }
}
