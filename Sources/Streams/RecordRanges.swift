/// Running numbers of records as ranges in order, none overlapping another.
package typealias RecordRanges = [Range<Int64>]

extension RecordRanges {
    /// How many records these are.
    package var recordCount: Int64 { reduce(0) { $0 + Int64($1.count) } }

    /// The parts inside a range.
    package func clipped(to range: Range<Int64>) -> RecordRanges {
        map { $0.clamped(to: range) }.filter { !$0.isEmpty }
    }

    /// All that is in either, put in order.
    package func union(_ others: RecordRanges) -> RecordRanges {
        var joined: RecordRanges = []
        for range in (self + others).filter({ !$0.isEmpty }).sorted(by: {
            $0.lowerBound < $1.lowerBound
        }) {
            if let last = joined.last, range.lowerBound <= last.upperBound {
                joined[joined.count - 1] =
                    last.lowerBound..<Swift.max(last.upperBound, range.upperBound)
            } else {
                joined.append(range)
            }
        }
        return joined
    }

    /// What is in both.
    ///
    /// - Precondition: Both are in order and do not overlap.
    package func common(with others: RecordRanges) -> RecordRanges {
        subtracting(subtracting(others))
    }

    /// What is in these and not in the others.
    ///
    /// - Precondition: Both are in order and do not overlap.
    package func subtracting(_ others: RecordRanges) -> RecordRanges {
        var rest: RecordRanges = []
        var first = others.startIndex
        for range in self {
            var next = range.lowerBound
            while first < others.endIndex, others[first].upperBound <= next { first += 1 }
            var place = first
            while place < others.endIndex, others[place].lowerBound < range.upperBound {
                let other = others[place]
                if other.lowerBound > next { rest.append(next..<other.lowerBound) }
                next = Swift.max(next, other.upperBound)
                place += 1
            }
            if next < range.upperBound { rest.append(next..<range.upperBound) }
        }
        return rest
    }
}
