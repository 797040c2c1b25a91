import CImages
import Files
import Tensor

/// How the stored rows are to be turned to stand upright: the values of EXIF's tag 0x0112.
enum Orientation: Int {
    case upright = 1
    case mirrored, halfTurn, flipped, transposed, quarterTurn, transversed, threeQuarterTurn

    /// What the file says of it, in EXIF or else in XMP; `upright` if it says nothing that can be read.
    init(file: UnsafeRawBufferPointer) {
        var found = Metadata()
        if file.starts(with: [0xff, 0xd8]) {
            found.readJPEG(file)
        } else if file.starts(with: [0x89, 0x50]) {
            found.readPNG(file)
        } else {
            found.readWebP(file)
        }
        let value = found.exif.flatMap(Orientation.inTIFF) ?? found.xmp.flatMap(Orientation.inXMP) ?? 1
        self = Orientation(rawValue: value) ?? .upright
    }

    /// The tag in the first directory of a TIFF structure.
    private static func inTIFF(_ bytes: UnsafeRawBufferPointer) -> Int? {
        let big = bytes.starts(with: [0x4d, 0x4d, 0, 42])
        guard big || bytes.starts(with: [0x49, 0x49, 42, 0]) else { return nil }
        func number(_ at: Int, _ width: Int) -> Int? {
            guard at >= 0, at <= bytes.count - width else { return nil }
            let part = bytes[at..<at + width]
            return (big ? Array(part) : part.reversed()).reduce(0) { $0 << 8 | Int($1) }
        }
        guard let start = number(4, 4), let count = number(start, 2) else { return nil }
        for entry in 0..<count {
            let at = start + 2 + 12 * entry
            guard let tag = number(at, 2), let type = number(at + 2, 2) else { return nil }
            if tag != 0x0112 { continue }
            return type == 3 ? number(at + 8, 2) : type == 4 ? number(at + 8, 4) : type == 1 ? number(at + 8, 1) : nil
        }
        return nil
    }

    /// `tiff:Orientation="6"` or `<tiff:Orientation>6`.
    private static func inXMP(_ bytes: UnsafeRawBufferPointer) -> Int? {
        let name = Array("tiff:Orientation".utf8)
        for start in bytes.indices where bytes[start] == name[0] && bytes[start...].starts(with: name) {
            var rest = bytes[(start + name.count)...]
            if rest.starts(with: [0x3d, 0x22]) {
                rest = rest.dropFirst(2)
            } else if rest.first == 0x3e {
                rest = rest.dropFirst()
            } else {
                continue
            }
            if let digit = rest.first, (0x30...0x39).contains(digit) { return Int(digit) - 0x30 }
        }
        return nil
    }
}

/// Where a file keeps its EXIF and XMP: the first of each. A walk over lengths that ends at the first that does not fit.
private struct Metadata {
    var exif: UnsafeRawBufferPointer?
    var xmp: UnsafeRawBufferPointer?

    private mutating func take(exif part: Slice<UnsafeRawBufferPointer>) {
        // JPEG and some WebP files have a mark before the TIFF structure.
        let marked = part.starts(with: Array("Exif\0\0".utf8))
        if exif == nil { exif = UnsafeRawBufferPointer(rebasing: part.dropFirst(marked ? 6 : 0)) }
    }

    private mutating func take(xmp part: Slice<UnsafeRawBufferPointer>) {
        if xmp == nil { xmp = UnsafeRawBufferPointer(rebasing: part) }
    }

    /// Segments up to the first scan.
    mutating func readJPEG(_ file: UnsafeRawBufferPointer) {
        let adobe = Array("http://ns.adobe.com/xap/1.0/\0".utf8)
        var at = 2
        while at <= file.count - 4 {
            guard file[at] == 0xff else {
                at += 1
                continue
            }
            let marker = file[at + 1]
            if marker == 0xff || marker == 0 || marker == 1 || (0xd0...0xd8).contains(marker) {
                at += marker == 0xff ? 1 : 2
                continue
            }
            if marker == 0xda || marker == 0xd9 { return }
            let length = Int(file[at + 2]) << 8 | Int(file[at + 3])
            guard length >= 2, length <= file.count - at - 2 else { return }
            let part = file[(at + 4)..<(at + 2 + length)]
            if marker == 0xe1, part.starts(with: Array("Exif\0\0".utf8)) { take(exif: part) }
            if marker == 0xe1, part.starts(with: adobe) { take(xmp: part.dropFirst(adobe.count)) }
            at += 2 + length
        }
    }

    mutating func readPNG(_ file: UnsafeRawBufferPointer) {
        let keyword = Array("XML:com.adobe.xmp\0\0\0".utf8)
        var at = 8
        while at <= file.count - 12 {
            let length = (0..<4).reduce(0) { $0 << 8 | Int(file[at + $1]) }
            guard length <= file.count - at - 12 else { return }
            let (name, part) = (file[(at + 4)..<(at + 8)], file[(at + 8)..<(at + 8 + length)])
            if name.elementsEqual("eXIf".utf8) { take(exif: part) }
            if name.elementsEqual("iTXt".utf8), part.starts(with: keyword) { take(xmp: part.dropFirst(keyword.count)) }
            at += 12 + length
        }
    }

    mutating func readWebP(_ file: UnsafeRawBufferPointer) {
        var at = 12
        while at <= file.count - 8 {
            let length = (0..<4).reversed().reduce(0) { $0 << 8 | Int(file[at + 4 + $1]) }
            guard length <= file.count - at - 8 else { return }
            let (name, part) = (file[at..<(at + 4)], file[(at + 8)..<(at + 8 + length)])
            if name.elementsEqual("EXIF".utf8) { take(exif: part) }
            if name.elementsEqual("XMP ".utf8) { take(xmp: part) }
            at += 8 + length + length % 2
        }
    }
}

extension Picture {
    /// The picture as its orientation says it is to be seen.
    func turned(_ orientation: Orientation) -> Picture {
        let (w, h) = (width, height)
        // Where the upper left pixel lies, and the steps to its right and lower neighbours.
        let (origin, right, down): (Int, Int, Int)
        switch orientation {
        case .upright: return self
        case .mirrored: (origin, right, down) = (w - 1, -1, w)
        case .halfTurn: (origin, right, down) = (w * h - 1, -1, -w)
        case .flipped: (origin, right, down) = (w * (h - 1), 1, -w)
        case .transposed: (origin, right, down) = (0, w, 1)
        case .quarterTurn: (origin, right, down) = (w * (h - 1), -w, 1)
        case .transversed: (origin, right, down) = (w * h - 1, -w, -1)
        case .threeQuarterTurn: (origin, right, down) = (w - 1, w, -1)
        }
        let swapped = orientation.rawValue >= 5
        let (newWidth, newHeight) = swapped ? (h, w) : (w, h)
        let turned = [UInt8](unsafeUninitializedCapacity: pixels.count) { buffer, count in
            cimages_turn(
                pixels, Int64(origin), Int64(right), Int64(down), newWidth, newHeight, buffer.baseAddress)
            count = pixels.count
        }
        return Picture(width: newWidth, height: newHeight, pixels: turned)
    }
}
