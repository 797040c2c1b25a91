// swift-tools-version: 6.2
import PackageDescription

// What the shared library needs at link time, and why:
//  -static-stdlib   a host has no Swift runtime (the package manager's own option is ignored for dynamic libraries)
//  -z defs          an undefined symbol fails here and not in the host's dlopen
//  -z nodelete      unmapping code that still runs on the library's threads would crash the host
//  version-script   exports the names of include/loragen.h and nothing else
let libraryFlags: [LinkerSetting] = [
    .unsafeFlags([
        "-static-stdlib",
        "-Xlinker", "-soname=libloragen.so.0",
        "-Xlinker", "-z", "-Xlinker", "defs",
        "-Xlinker", "-z", "-Xlinker", "nodelete",
        "-Xlinker", "--version-script=\(Context.packageDirectory)/Sources/loragen/exports.map",
    ])
]

// Swift 6.3's DeadObjectElimination leaks: where it removes an unused array that a struct holds, it drops the release of the
// struct's other fields as well.
let strict: [SwiftSetting] = [
    .unsafeFlags(["-warnings-as-errors", "-Xllvm", "-sil-disable-pass=deadobject-elim"])
]
let strictC: [CSetting] = [.unsafeFlags(["-Wall", "-Wextra", "-Werror"])]

// Serial OpenBLAS, linked in statically; its environment variables are shut out by the wrapped getenv, and its work
// buffers are ours: with the lock that the serial build leaves out, and without its endless loop (COpenBLAS/shim.c).
let openBLAS: [LinkerSetting] = [
    .unsafeFlags([
        "-L/usr/lib/x86_64-linux-gnu/openblas-serial", "-Xlinker", "-l:libopenblas.a",
        "-Xlinker", "--wrap=getenv", "-Xlinker", "--wrap=blas_memory_alloc", "-Xlinker", "--wrap=blas_memory_free",
    ])
]

// Python's regular expressions; its interpreter alone is used, never the compiler to machine code.
let pcre2: [LinkerSetting] = [.unsafeFlags(["-Xlinker", "-l:libpcre2-8.a"])]

// YAML of model cards and trainers' configs.
let yaml: [LinkerSetting] = [.unsafeFlags(["-Xlinker", "-l:libyaml.a"])]

// Unicode's tables for tokenizers.
let utf8proc: [LinkerSetting] = [.unsafeFlags(["-Xlinker", "-l:libutf8proc.a"])]

// Pictures. Debian's libpng.a reads stderr by its place, which a shared library cannot have (CImages/images.c).
let imageLibraries: [LinkerSetting] = [
    .unsafeFlags([
        "-Xlinker", "--wrap=stderr", "-Xlinker", "-l:libpng16.a", "-Xlinker", "-l:libjpeg.a", "-Xlinker",
        "-l:libwebpdemux.a", "-Xlinker", "-l:libwebp.a", "-Xlinker", "-l:libz.a",
    ])
]

let package = Package(
    name: "loragen",
    products: [
        .library(name: "loragen", type: .dynamic, targets: ["loragen"]),
        .library(name: "loragen_onnx", type: .dynamic, targets: ["COnnx"]),
        .executable(name: "loragen-cli", targets: ["loragen-cli"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0")
    ],
    targets: [
        .target(name: "COpenBLAS", cSettings: strictC, linkerSettings: openBLAS),
        .target(name: "CPCRE2", cSettings: strictC, linkerSettings: pcre2),
        .target(name: "CYAML", cSettings: strictC, linkerSettings: yaml),
        .target(name: "Cutf8proc", cSettings: strictC, linkerSettings: utf8proc),
        .target(
            name: "CImages", cSettings: strictC + [.unsafeFlags(["-O3", "-gdwarf-4"])], linkerSettings: imageLibraries),
        .target(
            name: "CKernels", exclude: ["README.md"],
            cSettings: strictC + [.unsafeFlags(["-O3", "-gdwarf-4"])],
            linkerSettings: [.linkedLibrary("m")]),
        .target(name: "Tensor", dependencies: ["COpenBLAS", "CKernels"], swiftSettings: strict),
        .target(name: "NN", dependencies: ["Tensor"], swiftSettings: strict),
        .systemLibrary(name: "COnnxABI"),
        // From here on a module imports only modules that stand before it; docs/architecture.md has the picture.
        .target(name: "Files", dependencies: ["Tensor", "COnnxABI", "CYAML"], swiftSettings: strict),
        .target(name: "Adapters", dependencies: ["Files", "COpenBLAS"], swiftSettings: strict),
        .target(name: "Formats", dependencies: ["Adapters", "COpenBLAS", "CPCRE2", "COnnxABI"], swiftSettings: strict),
        .target(name: "Hosts", dependencies: ["Formats"], swiftSettings: strict),
        .target(
            name: "Encoders", dependencies: ["Files", "NN", "CImages", "CPCRE2", "Cutf8proc"], swiftSettings: strict),
        .target(name: "Conditions", dependencies: ["Encoders"], swiftSettings: strict),
        .target(name: "Learning", dependencies: ["Conditions", "Hosts", "NN"], swiftSettings: strict),
        .target(name: "Methods", dependencies: ["Learning"], swiftSettings: strict),
        .target(name: "Reports", dependencies: ["Methods"], swiftSettings: strict),
        .target(name: "Generators", dependencies: ["Reports"], swiftSettings: strict),
        .systemLibrary(name: "CLoragen", path: "include"),
        .target(name: "CAPISupport", cSettings: strictC + [.unsafeFlags(["-gdwarf-4"])]),
        .target(
            name: "CAPI", dependencies: ["CLoragen", "CAPISupport", "Encoders", "Generators", "Hosts"],
            swiftSettings: strict),
        .target(name: "loragen", dependencies: ["CAPI"], exclude: ["exports.map"], linkerSettings: libraryFlags),
        // Opened by dlopen when ONNX is asked for. Swift's linker driver is used, but nothing of Swift is linked in:
        // -nostartfiles leaves its start-up object out, and with it the only reference to the runtime.
        .target(
            name: "COnnx", exclude: ["exports.map"],
            cxxSettings: [
                .define("ONNX_ML", to: "1"), .define("ONNX_NAMESPACE", to: "onnx"),
                .unsafeFlags(["-fvisibility=hidden", "-fvisibility-inlines-hidden"]),
            ],
            linkerSettings: [
                .linkedLibrary("onnx"), .linkedLibrary("onnx_proto"), .linkedLibrary("protobuf"),
                .unsafeFlags([
                    "-static-stdlib", "-nostartfiles",
                    "-Xlinker", "-soname=libloragen_onnx.so.0", "-Xlinker", "-z", "-Xlinker", "defs",
                    "-Xlinker", "-z", "-Xlinker", "nodelete",
                    "-Xlinker", "--version-script=\(Context.packageDirectory)/Sources/COnnx/exports.map",
                ]),
            ]),
        .executableTarget(
            name: "loragen-cli",
            dependencies: [
                "CLoragen", "CAPI", "Formats", .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ], swiftSettings: strict),
        .testTarget(name: "TensorTests", dependencies: ["Tensor"]),
        .testTarget(name: "NNTests", dependencies: ["NN"]),
        // The floors from Files to Hosts, and those from Conditions to Generators, in folders of their names.
        .testTarget(name: "AdaptersTests", dependencies: ["Hosts"], exclude: ["Golden"]),
        .testTarget(name: "EncodersTests", dependencies: ["Encoders"], exclude: ["Golden"]),
        .testTarget(name: "GeneratorsTests", dependencies: ["Generators"]),
        .testTarget(name: "CAPITests", dependencies: ["CLoragen", "CAPI", "CAPISupport"]),
    ],
    cxxLanguageStandard: .cxx17
)

// The benchmarks are built only when asked for: Benchmarks/run.
if Context.environment["LORAGEN_BENCHMARKS"] != nil {
    package.targets += [
        .target(name: "CPeak", path: "Benchmarks/CPeak", cSettings: strictC + [.unsafeFlags(["-O3"])]),
        .executableTarget(
            name: "bench", dependencies: ["CKernels", "CPeak", "NN"], path: "Benchmarks/bench", swiftSettings: strict),
        .executableTarget(
            name: "scale", dependencies: ["Generators"], path: "Benchmarks/scale", swiftSettings: strict),
        .executableTarget(
            name: "bench-safetensors", dependencies: ["Adapters"], path: "Benchmarks/safetensors/bench",
            swiftSettings: strict),
        .executableTarget(
            name: "pictures", dependencies: ["Encoders"], path: "Tests/acceptance/pictures", swiftSettings: strict),
    ]
}

// What the fuzzers and the programs under sanitisers link: the whole C surface as a static library (Tests/sanitizers/build).
if Context.environment["LORAGEN_SANITIZED"] != nil {
    package.products.append(.library(name: "Sanitized", type: .static, targets: ["Sanitized"]))
    package.targets.append(
        .target(name: "Sanitized", dependencies: ["CAPI"], path: "Tests/sanitizers/library", swiftSettings: strict))
}
