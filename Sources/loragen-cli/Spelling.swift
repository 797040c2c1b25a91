/// The words that differ least from one that is none of them: at most in two letters, or by an ending.
func nearest(to word: String, among words: [String]) -> [String] {
    let distances = words.map { $0.hasPrefix(word) && word.count > 1 ? 1 : editDistance(Array(word), Array($0)) }
    guard let least = distances.min(), least <= min(2, word.count - 1) else { return [] }
    return zip(words, distances).filter { $0.1 == least }.map(\.0)
}

/// Letters to put in, to take out or to exchange.
private func editDistance(_ a: [Character], _ b: [Character]) -> Int {
    var row = Array(0...b.count)
    for (i, x) in a.enumerated() {
        var diagonal = row[0]
        row[0] = i + 1
        for (j, y) in b.enumerated() {
            let next = min(diagonal + (x == y ? 0 : 1), row[j] + 1, row[j + 1] + 1)
            (diagonal, row[j + 1]) = (row[j + 1], next)
        }
    }
    return row[b.count]
}
