import CImages
import Tensor

/// Pillow's filters, by their numbers in its `Resampling` and in processors' `resample`.
enum Resampling: Int, Sendable {
    case nearest = 0
    case lanczos, bilinear, bicubic, box, hamming

    var name: String {
        switch self {
        case .nearest: "nearest"
        case .lanczos: "lanczos"
        case .bilinear: "bilinear"
        case .bicubic: "bicubic"
        case .box: "box"
        case .hamming: "hamming"
        }
    }
}

/// The weights of a run of output places along one side.
private struct Line {
    let places: Range<Int>
    var bounds: [Int32]
    var weights: [Int32]
    let taps: Int

    init(_ filter: Resampling, from input: Int, to output: Int, places: Range<Int>) throws(LoragenError) {
        let wanted = filter == .nearest ? 1 : cimages_taps(Int32(filter.rawValue), Double(input), Double(output))
        try Memory.require(4 * wanted * Double(places.count), for: "weights to resize \(input) pixels to \(output)")
        taps = Int(saturating: wanted)
        self.places = places
        bounds = [Int32](repeating: 0, count: 2 * places.count)
        weights = [Int32](repeating: 0, count: taps * places.count)
        withFilter { filled in
            cimages_fill(
                Int32(filter.rawValue), UInt32(clamping: input), UInt32(clamping: output), places.lowerBound, filled)
        }
    }

    mutating func withFilter(_ body: (UnsafeMutablePointer<cimages_filter>) -> Void) {
        bounds.withUnsafeMutableBufferPointer { bounds in
            weights.withUnsafeMutableBufferPointer { weights in
                var filter = cimages_filter(
                    count: places.count, taps: taps, bounds: bounds.baseAddress, weights: weights.baseAddress)
                body(&filter)
            }
        }
    }

    /// The input pixels that the places read.
    var reads: Range<Int> {
        guard let first = bounds.first, bounds.count >= 2 else { return 0..<0 }
        // Bounds do not go back from place to place.
        return Int(first)..<Int(bounds[bounds.count - 2] + bounds[bounds.count - 1])
    }
}

extension Picture {
    /// The part `columns` x `rows` of the picture resized to width x height, as Pillow's `resize` computes it: across
    /// first, rounded to 8 bits, then down; a side that keeps its length is not filtered. Only that part is computed, so a
    /// narrow picture of great length costs no more than it shows.
    func resized(
        width newWidth: Int, height newHeight: Int, columns: Range<Int>, rows: Range<Int>, by filter: Resampling
    ) throws(LoragenError) -> Picture {
        if columns.isEmpty || rows.isEmpty { return Picture(width: columns.count, height: rows.count, pixels: []) }
        var down = try newHeight == height ? nil : Line(filter, from: height, to: newHeight, places: rows)
        let needed = down?.reads ?? rows
        try Memory.require(
            3 * Double(columns.count) * Double(needed.count + rows.count), for: "a resized picture")
        var middle = [UInt8](repeating: 0, count: 3 * columns.count * needed.count)
        if newWidth == width {
            for (i, row) in needed.enumerated() {
                let start = 3 * (row * width + columns.lowerBound)
                middle.replaceSubrange(
                    3 * i * columns.count..<3 * (i + 1) * columns.count, with: pixels[start..<start + 3 * columns.count])
            }
        } else {
            var across = try Line(filter, from: width, to: newWidth, places: columns)
            across.withFilter { filter in
                nonisolated(unsafe) let filter = filter
                middle.withUnsafeMutableBufferPointer { buffer in
                    nonisolated(unsafe) let target = buffer
                    Picture.inBands(needed.count) { band in
                        cimages_across(
                            filter, pixels, width, needed.lowerBound + band.lowerBound, needed.lowerBound + band.upperBound,
                            target.baseAddress.map { $0 + 3 * columns.count * band.lowerBound })
                    }
                }
            }
        }
        guard down != nil else { return Picture(width: columns.count, height: rows.count, pixels: middle) }
        var result = [UInt8](repeating: 0, count: 3 * columns.count * rows.count)
        down?.withFilter { filter in
            nonisolated(unsafe) let filter = filter
            result.withUnsafeMutableBufferPointer { buffer in
                nonisolated(unsafe) let target = buffer
                Picture.inBands(rows.count) { band in
                    cimages_down(
                        filter, middle, columns.count, needed.lowerBound, band.lowerBound, band.upperBound,
                        target.baseAddress)
                }
            }
        }
        return Picture(width: columns.count, height: rows.count, pixels: result)
    }

    /// Some rows at a time, on several threads.
    private static func inBands(_ rows: Int, _ body: (Range<Int>) -> Void) {
        let size = 16
        Threads.parallelFor((rows + size - 1) / size) { body($0 * size..<min(rows, ($0 + 1) * size)) }
    }
}
