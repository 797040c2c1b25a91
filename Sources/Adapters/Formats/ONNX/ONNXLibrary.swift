import COnnxABI
import Glibc
import Tensor

/// `libloragen_onnx`, opened when it is first needed.
///
/// It brings libonnx and libprotobuf with it, which a host may hold in other versions. RTLD_LOCAL keeps their symbols
/// from the host, RTLD_DEEPBIND the host's from them.
struct ONNXLibrary {
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

    /// Beside the file that this code is in, then wherever the system looks.
    static func candidates() -> [String] {
        var info = lgo_dl_info()
        guard dladdr(#dsohandle, &info) != 0, let file = info.dli_fname else { return fileNames }
        let folder = splitPath(String(cString: file)).folder
        return fileNames.map { joinPath(folder, $0) } + fileNames
    }

    /// Opens the first of the files that can be opened.
    static func load(_ candidates: [String]) throws(LoragenError) -> UnsafeMutableRawPointer {
        let deepBind: Int32 = 8
        var reasons: [(isThere: Bool, text: String)] = []
        for path in candidates {
            if let handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | deepBind) { return handle }
            reasons.append((access(path, F_OK) == 0, dlerror().map { String(cString: $0) } ?? "unknown"))
        }
        // Of a file that is there the reason tells which library it lacks.
        let reason = (reasons.first { $0.isThere } ?? reasons.first)?.text ?? "no candidate"
        throw LoragenError(
            .unsupported,
            "ONNX needs libloragen_onnx.so beside this library, and the packages libonnx1 and libprotobuf32 (Debian: "
                + "apt install libonnx1); the system says: \(reason)")
    }
}
