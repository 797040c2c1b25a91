import Files
import Glibc

extension Diagnosis {
    /// A drawing of the largest groups: similarities in the order of their likeness, spectra, norms, variance.
    public var svg: String {
        var picture = Picture(width: 1060)
        picture.text(path, 30, 34, size: 16, bold: true)
        picture.text(verdict, 30, 54, size: 12)
        picture.extend(to: 70)
        for chart in charts.prefix(4) { chart.draw(in: &picture) }
        if charts.count > 4 {
            picture.text("and \(counted(charts.count - 4, "smaller group"))", 30, picture.height + 14)
            picture.extend(to: picture.height + 30)
        }
        return picture.svg
    }
}

extension Diagnosis.Chart {
    fileprivate func draw(in picture: inout Picture) {
        let top = picture.height
        picture.text(group.description, 30, top + 24, size: 13, bold: true)
        drawMatrix(in: &picture, left: 30, top: top + 66)
        drawSpectra(in: &picture, Self.axes(620, top + 66))
        drawNorms(in: &picture, Self.axes(620, top + 306))
        drawVariance(in: &picture, Self.axes(620, top + 546))
        picture.extend(to: top + 770)
    }

    private static func axes(_ left: Double, _ top: Double) -> (Double, Double, Double, Double) {
        (left, top, 400, 150)
    }

    /// Cells of the matrix at most; beyond, a cell is the mean over several adapters.
    private static let cellLimit = 128

    private func drawMatrix(in picture: inout Picture, left: Double, top: Double) {
        picture.text("cosine of the updates, like beside like", left, top - 12, size: 12, bold: true)
        let n = gram.count
        if n < 2 { return }
        let order = clusters.order
        let cells = min(n, Self.cellLimit)
        func range(_ cell: Int) -> Range<Int> { (cell * n / cells)..<((cell + 1) * n / cells) }
        let size = 500 / Double(cells)
        var places: [Int: [(Double, Double)]] = [:]
        for i in 0..<cells {
            for j in 0..<cells {
                var (sum, count) = (0.0, 0.0)
                for a in range(i) {
                    // Not an adapter with itself, save where it is alone in its cell.
                    for b in range(j) where order[a] != order[b] || range(i).count == 1 {
                        sum += gram.similarity(order[a], order[b]) ?? 0
                        count += 1
                    }
                }
                let step = Int(saturating: ((count > 0 ? sum / count : 0) * 16).rounded())
                places[step, default: []].append((left + Double(j) * size, top + Double(i) * size))
            }
        }
        for (step, list) in places.sorted(by: { $0.key < $1.key }) {
            picture.cells(list, size: size, fill: Self.colour(Double(step) / 16))
        }
        if n <= 40 {
            for (i, member) in order.enumerated() where size >= 11 {
                let text = name(member)
                picture.text(
                    text.count > 40 ? "…" + text.suffix(39) : text, left + 4, top + (Double(i) + 0.5) * size + 4,
                    size: 9)
            }
        }
        for step in -16...16 {
            picture.rectangle(
                left + 120 + Double(step + 16) * 8, top + 514, 8, 12, fill: Self.colour(Double(step) / 16))
        }
        for value in [-1.0, 0, 1] {
            picture.text(decimal(value, 0), left + 124 + (value + 1) * 128, top + 542, anchor: "middle")
        }
        if cells < n {
            picture.text("a cell is the mean over \(n / cells) or more adapters", left, top + 566, colour: "#777777")
        }
    }

    /// Blue for opposite, white for orthogonal, red for equal.
    private static func colour(_ value: Double) -> String {
        let end: (Double, Double, Double) = value < 0 ? (33, 102, 172) : (178, 24, 43)
        let share = min(1, abs(value))
        func hex(_ part: Double) -> String {
            let text = String(Int(saturating: (255 + (part - 255) * share).rounded()), radix: 16)
            return text.count == 1 ? "0" + text : text
        }
        return "#" + hex(end.0) + hex(end.1) + hex(end.2)
    }

    /// One line for each kind of module: the last component of its name.
    private func drawSpectra(in picture: inout Picture, _ place: (Double, Double, Double, Double)) {
        var kinds: [(name: String, sums: [Double], count: Double)] = []
        for (m, module) in group.modules.enumerated() {
            let kind = module.name.split(separator: ".").last.map(String.init) ?? module.name
            let spectrum = group.meanSpectrum(of: m)
            let at = kinds.firstIndex { $0.name == kind } ?? kinds.count
            if at == kinds.count { kinds.append((kind, [], 0)) }
            while kinds[at].sums.count < spectrum.count { kinds[at].sums.append(0) }
            for (k, value) in spectrum.enumerated() { kinds[at].sums[k] += value }
            kinds[at].count += 1
        }
        let rank = max(2, kinds.reduce(0) { max($0, $1.sums.count) })
        let axes = Axes(
            left: place.0, top: place.1, width: place.2, height: place.3, xs: 1...Double(rank), ys: 0...1)
        let step = max(1, rank / 8)
        axes.draw(
            in: &picture, title: "singular values over the largest, mean", xLabel: "index",
            xTicks: stride(from: 1, through: rank, by: step).map(Double.init), yTicks: [0, 0.25, 0.5, 0.75, 1])
        for (i, kind) in kinds.prefix(8).enumerated() {
            let colour = Picture.colours[i]
            picture.line(
                kind.sums.enumerated().map { (axes.x(Double($0 + 1)), axes.y($1 / kind.count)) }, colour: colour)
            picture.text(kind.name, place.0 + place.2 - 4, place.1 + 12 + 13 * Double(i), anchor: "end", colour: colour)
        }
    }

    private func drawNorms(in picture: inout Picture, _ place: (Double, Double, Double, Double)) {
        let norms = group.members.map(\.norm)
        guard let low = norms.min(), let high = norms.max() else { return }
        // Norms that are all the same are one bar in the middle; beside a large one, a half would not be a difference.
        let room = max(0.5, high * 1e-3)
        let range = low < high ? low...high : (low - room)...(high + room)
        var counts = [Int](repeating: 0, count: 40)
        let width = (range.upperBound - range.lowerBound) / 40
        for norm in norms { counts[min(39, max(0, Int(saturating: (norm - range.lowerBound) / width)))] += 1 }
        let most = Double(max(1, counts.max() ?? 1))
        let axes = Axes(left: place.0, top: place.1, width: place.2, height: place.3, xs: range, ys: 0...most)
        axes.draw(
            in: &picture, title: "norm of the adapters", xLabel: "√Σ‖ΔW‖²",
            xTicks: (0...4).map { range.lowerBound + Double($0) / 4 * (range.upperBound - range.lowerBound) },
            yTicks: most < 2 ? [0, 1] : [0, (most / 2).rounded(), most])
        for (i, count) in counts.enumerated() where count > 0 {
            let x = axes.x(range.lowerBound + Double(i) * width)
            picture.rectangle(
                x, axes.y(Double(count)), place.2 / 40 - 1, axes.y(0) - axes.y(Double(count)), fill: Picture.colours[0])
        }
    }

    private func drawVariance(in picture: inout Picture, _ place: (Double, Double, Double, Double)) {
        guard let diversity, diversity.variances.count > 1 else { return }
        let shown = max(2, min(diversity.variances.count, diversity.components90 * 2))
        let axes = Axes(
            left: place.0, top: place.1, width: place.2, height: place.3, xs: 0...Double(shown), ys: 0...1)
        let step = max(1, shown / 5)
        axes.draw(
            in: &picture, title: "variance explained by principal components", xLabel: "components",
            xTicks: stride(from: 0, through: shown, by: step).map(Double.init), yTicks: [0, 0.25, 0.5, 0.75, 1])
        var sum = 0.0
        var points = [(axes.x(0), axes.y(0))]
        for (i, share) in diversity.variances.prefix(shown).enumerated() {
            sum += share
            points.append((axes.x(Double(i + 1)), axes.y(sum)))
        }
        picture.line(points, colour: Picture.colours[1])
        let mark = axes.x(Double(diversity.components90))
        picture.line([(mark, axes.y(0)), (mark, axes.y(0.9))], colour: Picture.ink, width: 1)
        picture.text("90 % in \(diversity.components90)", mark + 5, axes.y(0.08))
    }
}
