import COnnxABI
import Files
import Glibc
import Tensor

/// `libloragen_onnx`, opened when it is first needed.
///
/// It brings libonnx and libprotobuf with it, which a host may hold in other versions. RTLD_LOCAL keeps their symbols
/// from the host, RTLD_DEEPBIND the host's from them.
public struct ONNXLibrary: Sendable {
    typealias Build =
        @convention(c) (
            UnsafePointer<lgo_tensor>?, Int, UnsafePointer<lgo_property>?, Int, lgo_string,
            UnsafeMutablePointer<UnsafeMutableRawPointer?>?, UnsafeMutablePointer<Int>?, UnsafeMutablePointer<CChar>?,
            Int
        ) -> Int32
    typealias Open =
        @convention(c) (
            UnsafeRawPointer?, Int, UnsafeMutablePointer<OpaquePointer?>?, UnsafeMutablePointer<CChar>?, Int
        ) -> Int32
    typealias Count = @convention(c) (OpaquePointer?) -> Int
    typealias TensorAt = @convention(c) (OpaquePointer?, Int, UnsafeMutablePointer<lgo_tensor>?) -> Int32
    typealias PropertyAt = @convention(c) (OpaquePointer?, Int, UnsafeMutablePointer<lgo_property>?) -> Int32

    let build: Build
    let open: Open
    let tensorCount: Count
    let propertyCount: Count
    let tensorAt: TensorAt
    let propertyAt: PropertyAt
    let close: @convention(c) (OpaquePointer?) -> Void
    let free: @convention(c) (UnsafeMutableRawPointer?) -> Void

    /// Where messages of the library go.
    static let messageSize = 1024

    private static let fileNames = ["libloragen_onnx.so.0", "libloragen_onnx.so"]
    // Opened once for the process; a failure is kept too, and a new start of the process tries again.
    private static let result: Result<ONNXLibrary, LoragenError> = Result { () throws(LoragenError) in
        try ONNXLibrary()
    }

    /// The library. Throws `.unsupported` saying what to install when it or what it needs is not there.
    static func shared() throws(LoragenError) -> ONNXLibrary { try result.get() }

    private init() throws(LoragenError) {
        let handle = try Self.load(Self.candidates())
        // Never closed: protobuf registers its messages for the life of the process.
        func symbol<Function>(_ name: String, as type: Function.Type) throws(LoragenError) -> Function {
            guard let address = dlsym(handle, name) else {
                throw LoragenError(
                    .unsupported, "ONNX: libloragen_onnx has no '\(name)'; install the one that belongs to this library"
                )
            }
            return unsafeBitCast(address, to: type)
        }
        let abi = try symbol("lgo_abi", as: (@convention(c) () -> Int32).self)()
        if abi != LGO_ABI {
            throw LoragenError(
                .unsupported,
                "ONNX: libloragen_onnx has interface \(abi), expected \(LGO_ABI); install the one that belongs to this "
                    + "library")
        }
        build = try symbol("lgo_build", as: Build.self)
        open = try symbol("lgo_open", as: Open.self)
        tensorCount = try symbol("lgo_tensor_count", as: Count.self)
        propertyCount = try symbol("lgo_property_count", as: Count.self)
        tensorAt = try symbol("lgo_tensor_at", as: TensorAt.self)
        propertyAt = try symbol("lgo_property_at", as: PropertyAt.self)
        close = try symbol("lgo_close", as: (@convention(c) (OpaquePointer?) -> Void).self)
        free = try symbol("lgo_free", as: (@convention(c) (UnsafeMutableRawPointer?) -> Void).self)
    }

    static func noMemory(_ path: String) -> LoragenError {
        LoragenError(.memory, "\(path): libonnx found no memory for the model")
    }

    /// Whether ONNX cannot be had here.
    public static var isMissing: Bool { if case .failure = result { true } else { false } }

    /// In the folder of the file that this code is in, or in `lib` beside it when it is a program's `bin`. Never by a bare
    /// or relative name, which would look in folders that nobody chose.
    static func candidates() -> [String] {
        var folders: [String] = []
        // The system knows which file is mapped here; the loader repeats what it was given, which may be relative.
        let maps = processMaps()
        if let file = file(at: UInt(bitPattern: #dsohandle), inMaps: maps) { folders.append(splitPath(file).folder) }
        var info = lgo_dl_info()
        if dladdr(#dsohandle, &info) != 0, let name = info.dli_fname {
            let file = String(cString: name)
            if file.hasPrefix("/") { folders.append(splitPath(file).folder) }
        }
        for folder in folders where splitPath(folder).name == "bin" {
            folders.append(joinPath(splitPath(folder).folder, "lib"))
        }
        var candidates: [String] = []
        for folder in folders {
            for name in fileNames where !candidates.contains(joinPath(folder, name)) {
                candidates.append(joinPath(folder, name))
            }
        }
        return candidates
    }

    /// What /proc/self/maps says, "" where there is none. Its size is not known before it is read.
    private static func processMaps() -> String {
        let descriptor = Glibc.open("/proc/self/maps", O_RDONLY | O_CLOEXEC)
        if descriptor < 0 { return "" }
        defer { Glibc.close(descriptor) }
        var bytes: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = Glibc.read(descriptor, &part, part.count)
            if count < 0 && errno == EINTR { continue }
            if count <= 0 { return String(decoding: bytes, as: UTF8.self) }
            bytes += part[..<count]
        }
    }

    /// The file that is mapped at an address, by the lines of /proc/self/maps:
    /// "7f00a000-7f00b000 r-xp 00001000 08:01 1234      /usr/lib/libloragen.so.0".
    static func file(at address: UInt, inMaps maps: String) -> String? {
        for line in maps.split(separator: "\n") {
            let parts = line.split(separator: " ", maxSplits: 5, omittingEmptySubsequences: true)
            let ends = parts[0].split(separator: "-")
            guard parts.count == 6, ends.count == 2, let low = UInt(ends[0], radix: 16),
                let high = UInt(ends[1], radix: 16), address >= low, address < high
            else { continue }
            let path = parts[5].drop { $0 == " " }
            return path.first == "/" ? String(path) : nil
        }
        return nil
    }

    /// Opens the first of the files that can be opened.
    static func load(_ candidates: [String]) throws(LoragenError) -> UnsafeMutableRawPointer {
        // Sanitisers refuse RTLD_DEEPBIND; a host under one has to do with RTLD_LOCAL.
        let deepBind: Int32 = dlsym(nil, "__sanitizer_print_stack_trace") == nil ? 8 : 0
        var reasons: [(isThere: Bool, text: String)] = []
        for path in candidates {
            if let handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | deepBind) { return handle }
            reasons.append((access(path, F_OK) == 0, dlerror().map { String(cString: $0) } ?? "unknown"))
        }
        // Of a file that is there the reason tells which library it lacks.
        let reason = (reasons.first { $0.isThere } ?? reasons.first)?.text ?? "the folder of this library is not known"
        throw LoragenError(
            .unsupported,
            "ONNX needs libloragen_onnx.so.0 in the folder of this library (of a program in bin, in lib beside it), and the "
                + "packages libonnx1 and libprotobuf32 (Debian: apt install libonnx1); the system says: \(reason)")
    }
}
