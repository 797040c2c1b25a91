import Glibc

/// What the control groups of this process, version 1 and 2, leave of memory: a container's limit, where going beyond ends
/// the process without a word.
struct ControlGroup {
    /// Bytes that may still be asked for; `.max` without a limit.
    let room: UInt64

    static var current: ControlGroup { ControlGroup(membership: "/proc/self/cgroup", root: "/sys/fs/cgroup") }

    /// The files' names in a version, and what of the usage the kernel takes back when it is short: pages of files.
    private struct Version {
        let root: String
        let limit: String
        let usage: String
        let reclaimable: [String]
    }

    init(membership: String, root: String) {
        let second = Version(
            root: root, limit: "memory.max", usage: "memory.current", reclaimable: ["inactive_file", "active_file"])
        let first = Version(
            root: root + "/memory", limit: "memory.limit_in_bytes", usage: "memory.usage_in_bytes",
            reclaimable: ["total_inactive_file", "total_active_file"])
        var room = UInt64.max
        for line in Self.read(membership).split(separator: "\n") {
            // hierarchy:controllers:path; version 2 has hierarchy 0 and no controllers.
            let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard fields.count == 3 else { continue }
            if fields[0] == "0", fields[1].isEmpty { room = min(room, Self.room(String(fields[2]), second)) }
            if fields[1].split(separator: ",").contains("memory") {
                room = min(room, Self.room(String(fields[2]), first))
            }
        }
        self.room = room
    }

    /// The least that a group and those above it leave. Inside a container the path may be one that only the host has;
    /// then the root is the group's own.
    private static func room(_ path: String, _ version: Version) -> UInt64 {
        var parts = path.split(separator: "/")[...]
        var room = UInt64.max
        while true {
            let folder = version.root + parts.map { "/" + $0 }.joined()
            if let limit = number(read("\(folder)/\(version.limit)")) {
                let used = number(read("\(folder)/\(version.usage)")) ?? 0
                var free = limit > used ? limit - used : 0
                for line in read("\(folder)/memory.stat").split(separator: "\n") {
                    let fields = line.split(separator: " ")
                    guard fields.count == 2, version.reclaimable.contains(String(fields[0])),
                        let bytes = UInt64(fields[1])
                    else { continue }
                    free = min(limit, free.addingReportingOverflow(bytes).overflow ? limit : free + bytes)
                }
                room = min(room, free)
            }
            if parts.popLast() == nil { return room }
        }
    }

    private static func number(_ text: String) -> UInt64? {
        text.split(separator: "\n").first.flatMap { UInt64($0) }
    }

    /// The start of a small file, empty if it cannot be read.
    static func read(_ path: String) -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        if descriptor < 0 { return "" }
        defer { close(descriptor) }
        return withUnsafeTemporaryAllocation(byteCount: 1 << 15, alignment: 1) { buffer in
            guard let base = buffer.baseAddress else { return "" }
            let count = Glibc.read(descriptor, base, buffer.count)
            return count <= 0 ? "" : String(decoding: UnsafeRawBufferPointer(rebasing: buffer[..<count]), as: UTF8.self)
        }
    }
}
