import Glibc
import Tensor
import Testing

@testable import Files

@Suite("Temporary files") struct TemporaryTests {
    private static let prefix = AtomicFile.temporaryPrefix

    @Test("What a killed process left is removed by the next that writes there; what is being written stays")
    func sweep() throws {
        let scratch = try Scratch()
        try write("torn", to: scratch(Self.prefix + "1"))
        mkdir(scratch(Self.prefix + "2"), 0o755)
        mkdir(scratch(Self.prefix + "2/inside"), 0o755)
        try write("torn", to: scratch(Self.prefix + "2/inside/a"))
        symlink("/etc/passwd", scratch(Self.prefix + "3"))
        try write("mine", to: scratch("a"))
        // As another process holds what it writes.
        try write("held", to: scratch(Self.prefix + "4"))
        let held = open(scratch(Self.prefix + "4"), O_RDONLY)
        defer { close(held) }
        #expect(flock(held, LOCK_EX) == 0)
        let file = try AtomicFile(path: scratch("new"))
        try file.commit()
        #expect(scratch.names == [Self.prefix + "3", Self.prefix + "4", "a", "new"])
    }

    @Test("A file is locked from its making to its renaming, and so is a folder") func locked() throws {
        let scratch = try Scratch()
        let file = try AtomicFile(path: scratch("a"))
        let folder = try AtomicFolder(path: scratch("b"))
        #expect(scratch.names.count == 2)
        for name in scratch.names {
            let other = open(scratch(name), O_RDONLY)
            #expect(flock(other, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
            close(other)
        }
        try file.commit()
        try folder.commit()
        #expect(scratch.names == ["a", "b"])
        // Nothing is held afterwards.
        for name in scratch.names {
            let other = open(scratch(name), O_RDONLY)
            #expect(flock(other, LOCK_EX | LOCK_NB) == 0)
            close(other)
        }
    }

    @Test("A tree is removed with its links, and not what they lead to") func tree() throws {
        let scratch = try Scratch()
        mkdir(scratch("keep"), 0o755)
        try write("mine", to: scratch("keep/a"))
        mkdir(scratch("tree"), 0o755)
        symlink(scratch("keep"), scratch("tree/link"))
        mkdir(scratch("tree/deep"), 0o755)
        try write("x", to: scratch("tree/deep/x"))
        #expect(removeTree(scratch("tree")) && removeTree(scratch("tree")))
        #expect(scratch.names == ["keep"] && Scratch.names(scratch("keep")) == ["a"])
    }

    @Test("A new folder can be filled by other means, and refuses one that is there") func fill() throws {
        let scratch = try Scratch()
        let folder = try AtomicFolder(path: scratch("f"), isNew: true)
        try folder.fill { (inside) throws(LoragenError) in
            try makeFolder(inside + "/deep")
            let file = try AtomicFile(path: inside + "/deep/a")
            try file.commit()
        }
        let error = failure {
            try folder.fill { (inside) throws(LoragenError) in throw LoragenError(.io, inside + "/deep: full") }
        }
        #expect(error.message == scratch("f/deep: full"))
        try folder.commit()
        #expect(Scratch.names(scratch("f")) == ["deep"])
        #expect(contains(failure { _ = try AtomicFolder(path: scratch("f"), isNew: true) }.message, "there already"))
        let late = try AtomicFolder(path: scratch("g"), isNew: true)
        mkdir(scratch("g"), 0o755)
        try write("x", to: scratch("g/x"))
        #expect(contains(failure { try late.commit() }.message, "there already"))
        #expect(Scratch.names(scratch("g")) == ["x"])
    }
}
