import Files

/// An SVG drawing, built up element by element.
struct Picture {
    let width: Double
    private(set) var height = 0.0
    private var body = ""

    init(width: Double) { self.width = width }

    static let ink = "#333333"
    static let faint = "#c8c8c8"
    /// Lines that are told apart (Okabe and Ito's colours, safe for the colour-blind).
    static let colours = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442", "#000000"]

    /// Makes room down to `bottom`.
    mutating func extend(to bottom: Double) { height = max(height, bottom) }

    mutating func text(
        _ text: String, _ x: Double, _ y: Double, size: Double = 11, anchor: String = "start", colour: String = ink,
        bold: Bool = false
    ) {
        body +=
            "<text x=\"\(p(x))\" y=\"\(p(y))\" font-size=\"\(p(size))\" text-anchor=\"\(anchor)\" fill=\"\(colour)\""
            + (bold ? " font-weight=\"bold\"" : "") + ">\(escaped(text))</text>\n"
    }

    mutating func rectangle(_ x: Double, _ y: Double, _ width: Double, _ height: Double, fill: String) {
        body += "<rect x=\"\(p(x))\" y=\"\(p(y))\" width=\"\(p(width))\" height=\"\(p(height))\" fill=\"\(fill)\"/>\n"
    }

    mutating func line(_ points: [(Double, Double)], colour: String, width: Double = 1.5) {
        let list = points.map { "\(p($0.0)),\(p($0.1))" }.joined(separator: " ")
        body += "<polyline points=\"\(list)\" fill=\"none\" stroke=\"\(colour)\" stroke-width=\"\(p(width))\"/>\n"
    }

    /// Squares of one colour as one element: a matrix of thousands of cells stays a small file.
    mutating func cells(_ places: [(Double, Double)], size: Double, fill: String) {
        if places.isEmpty { return }
        let side = p(size)
        let path = places.map { "M\(p($0.0)) \(p($0.1))h\(side)v\(side)h-\(side)z" }.joined()
        body += "<path d=\"\(path)\" fill=\"\(fill)\" shape-rendering=\"crispEdges\"/>\n"
    }

    var svg: String {
        """
        <svg xmlns="http://www.w3.org/2000/svg" width="\(p(width))" height="\(p(height))" \
        viewBox="0 0 \(p(width)) \(p(height))" font-family="Helvetica, Arial, sans-serif">
        <rect width="100%" height="100%" fill="#ffffff"/>
        \(body)</svg>

        """
    }

    private func p(_ value: Double) -> String {
        let text = decimal(value, 2)
        return text.hasSuffix(".00") ? String(text.dropLast(3)) : text
    }

    private func escaped(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            case _ where scalar.value < 0x20: result += " "
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }
}

/// Axes with ticks; `x` and `y` turn values into places.
struct Axes {
    let left: Double
    let top: Double
    let width: Double
    let height: Double
    let xs: ClosedRange<Double>
    let ys: ClosedRange<Double>

    func x(_ value: Double) -> Double { left + (value - xs.lowerBound) / (xs.upperBound - xs.lowerBound) * width }
    func y(_ value: Double) -> Double {
        top + height - (value - ys.lowerBound) / (ys.upperBound - ys.lowerBound) * height
    }

    func draw(in picture: inout Picture, title: String, xLabel: String, xTicks: [Double], yTicks: [Double]) {
        picture.text(title, left, top - 12, size: 12, bold: true)
        for tick in yTicks {
            picture.line([(left, y(tick)), (left + width, y(tick))], colour: Picture.faint, width: 0.5)
            picture.text(label(tick), left - 6, y(tick) + 4, anchor: "end")
        }
        for tick in xTicks {
            picture.line([(x(tick), top + height), (x(tick), top + height + 4)], colour: Picture.ink, width: 1)
            picture.text(label(tick), x(tick), top + height + 17, anchor: "middle")
        }
        picture.line([(left, top), (left, top + height), (left + width, top + height)], colour: Picture.ink, width: 1)
        picture.text(xLabel, left + width / 2, top + height + 34, anchor: "middle")
    }

    private func label(_ tick: Double) -> String { tick == tick.rounded() ? decimal(tick, 0) : compact(tick) }
}
