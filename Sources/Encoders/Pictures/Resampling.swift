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
        bounds.withUnsafeMutableBufferPointer { bounds in
            weights.withUnsafeMutableBufferPointer { weights in
                var line = cimages_filter(
                    count: places.count, taps: taps, bounds: bounds.baseAddress, weights: weights.baseAddress)
                cimages_fill(
                    Int32(filter.rawValue), UInt32(clamping: input), UInt32(clamping: output), places.lowerBound, &line)
            }
        }
    }

    /// Calls `body` for bands of some rows of the result, on several threads.
    func apply(
        bands rows: Int, _ result: inout [UInt8],
        _ body: (UnsafePointer<cimages_filter>, Range<Int>, UnsafeMutablePointer<UInt8>) -> Void
    ) {
        let size = 16
        bounds.withUnsafeBufferPointer { bounds in
            weights.withUnsafeBufferPointer { weights in
                result.withUnsafeMutableBufferPointer { result in
                    guard let target = result.baseAddress else { return }
                    // The passes read weights and bounds alone.
                    var filter = cimages_filter(
                        count: places.count, taps: taps, bounds: UnsafeMutablePointer(mutating: bounds.baseAddress),
                        weights: UnsafeMutablePointer(mutating: weights.baseAddress))
                    withUnsafePointer(to: &filter) { filter in
                        Threads.parallelFor((rows + size - 1) / size) { band in
                            body(filter, band * size..<min(rows, (band + 1) * size), target)
                        }
                    }
                }
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
    /// The part `columns` x `rows` of the picture resized to width x height, as Pillow's `resize` computes it: one side
    /// after the other, rounded to 8 bits in between; a side that keeps its length is not filtered. Only that part is
    /// computed, so a narrow picture of great length costs no more than it shows.
    func resized(
        width newWidth: Int, height newHeight: Int, columns: Range<Int>, rows: Range<Int>, by filter: Resampling
    ) throws(LoragenError) -> Picture {
        if columns.isEmpty || rows.isEmpty { return Picture(width: columns.count, height: rows.count, pixels: []) }
        let across = try newWidth == width ? nil : Line(filter, from: width, to: newWidth, places: columns)
        let down = try newHeight == height ? nil : Line(filter, from: height, to: newHeight, places: rows)
        // Pillow begins with the side that shrinks more, found by trial with Pillow 13; older ones always go across first,
        // which differs by some levels in pictures that are much higher than wide.
        if let down, newHeight < height, height - newHeight > 2 * (width - newWidth) {
            let low = try filtered(down: down, from: 0)
            guard let across else { return try low.cut(columns, 0..<rows.count) }
            return try low.filtered(across: across, rows: 0..<rows.count)
        }
        let needed = down?.reads ?? rows
        var narrow: Picture
        if let across {
            narrow = try filtered(across: across, rows: needed)
        } else {
            narrow = try cut(columns, needed)
        }
        if let down { narrow = try narrow.filtered(down: down, from: needed.lowerBound) }
        return narrow
    }

    private func cut(_ columns: Range<Int>, _ rows: Range<Int>) throws(LoragenError) -> Picture {
        try Memory.require(3 * columns.count * rows.count, of: UInt8.self, for: "a part of a picture")
        var part: [UInt8] = []
        part.reserveCapacity(3 * columns.count * rows.count)
        for row in rows {
            part += pixels[3 * (row * width + columns.lowerBound)..<3 * (row * width + columns.upperBound)]
        }
        return Picture(width: columns.count, height: rows.count, pixels: part)
    }

    private func filtered(across line: Line, rows: Range<Int>) throws(LoragenError) -> Picture {
        let width = line.places.count
        try Memory.require(3 * width * rows.count, of: UInt8.self, for: "a resized picture")
        var result = [UInt8](repeating: 0, count: 3 * width * rows.count)
        line.apply(bands: rows.count, &result) { filter, band, target in
            cimages_across(
                filter, pixels, self.width, rows.lowerBound + band.lowerBound, rows.lowerBound + band.upperBound,
                target + 3 * width * band.lowerBound)
        }
        return Picture(width: width, height: rows.count, pixels: result)
    }

    /// `first` is the row of the whole picture with which this part of it begins.
    private func filtered(down line: Line, from first: Int) throws(LoragenError) -> Picture {
        let height = line.places.count
        try Memory.require(3 * width * height, of: UInt8.self, for: "a resized picture")
        var result = [UInt8](repeating: 0, count: 3 * width * height)
        line.apply(bands: height, &result) { filter, band, target in
            cimages_down(filter, pixels, width, first, band.lowerBound, band.upperBound, target)
        }
        return Picture(width: width, height: height, pixels: result)
    }
}
