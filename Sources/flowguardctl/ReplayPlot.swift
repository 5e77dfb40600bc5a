import Control
import Foundation
import Streams

/// A replay as a picture: how strange the records were over time, with the threshold, and below it lanes for the alarms,
/// the labelled windows and the fits.
///
/// The height is −log₁₀ of the p-value, which means the same under every model and reads as "one normal record in so many".
struct ReplayPlot {
    /// What lies in one column of pixels.
    private struct Column {
        var least = Double.infinity
        var greatest = -Double.infinity
        var anomaly = -Double.infinity
        var threshold = 0.0
        var count = 0
    }

    private let history: ReplayHistory
    private let summary: ReplaySummary
    private let from: Double
    private let to: Double
    /// The greatest height that is told apart, in powers of ten.
    private let top: Double

    private static let width = 1_200.0
    private static let left = 96.0
    private static let right = 1_176.0
    private static let plotTop = 84.0
    private static let plotBottom = 404.0
    private static let laneHeight = 22.0
    private static let laneGap = 10.0

    private enum Color {
        static let score = "#4e79a7"
        static let alarm = "#d62728"
        static let threshold = "#e08214"
        static let hit = "#59a14f"
        static let fit = "#4a4a4a"
        static let text = "#333333"
        static let faint = "#767676"
        static let grid = "#e6e6e6"
    }

    init(_ history: ReplayHistory, _ summary: ReplaySummary) {
        self.history = history
        self.summary = summary
        from = summary.from?.timeIntervalSince1970 ?? 0
        to = max(summary.to?.timeIntervalSince1970 ?? 0, from + 1)
        let heights = history.records.lazy.compactMap(\.judgement).map { Self.height($0.pValue) }
        top = min(max((heights.max() ?? 0).rounded(.up), 4), 12)
    }

    /// The SVG document.
    var text: String {
        let columns = columns
        let lanes = lanes
        let bottom =
            Self.plotBottom + Double(lanes.count) * (Self.laneHeight + Self.laneGap) + 12
        let height = bottom + 44
        var svg = SVG(width: Self.width, height: height)
        svg.text(Self.left, 36, "\(summary.stream)", size: 22, color: Color.text, isBold: true)
        svg.text(Self.left, 60, headline, size: 14, color: Color.faint)
        drawGrid(in: &svg, to: bottom)
        drawUnscored(in: &svg)
        for episode in summary.episodes {
            let (x, width) = extent(episode.startedAt, episode.lastAnomalyAt, least: 1)
            svg.rectangle(
                x, Self.plotTop, width, Self.plotBottom - Self.plotTop, fill: Color.alarm,
                opacity: 0.10)
        }
        drawScores(columns, in: &svg)
        drawThreshold(columns, in: &svg)
        for (index, lane) in lanes.enumerated() {
            let y =
                Self.plotBottom + 12 + Double(index) * (Self.laneHeight + Self.laneGap)
            svg.text(
                Self.left - 10, y + 15, lane.name, size: 12, color: Color.text, anchor: "end")
            svg.rectangle(
                Self.left, y, Self.right - Self.left, Self.laneHeight, fill: "#f4f4f4")
            lane.draw(&svg, y)
        }
        drawKey(in: &svg)
        return svg.document
    }

    /// The replay in a sentence.
    private var headline: String {
        let alarms = summary.alarms
        var text = Format.plural(alarms.episodes, "alarm")
        if let perDay = alarms.perDay { text += ", \(Format.significant(perDay, digits: 2)) a day" }
        if let labels = summary.labels {
            text +=
                "; \(labels.windowsHit) of "
                + "\(Format.plural(labels.windowsScored, "labelled window")) hit"
            if let perDay = labels.falseEpisodesPerDay {
                text += ", \(Format.significant(perDay, digits: 2)) false alarms a day"
            }
        }
        return text
    }

    // MARK: Places

    private static func height(_ pValue: Double) -> Double { max(0, -log10(max(pValue, 1e-300))) }

    private func x(_ time: Double) -> Double {
        Self.left + (time - from) / (to - from) * (Self.right - Self.left)
    }

    private func y(_ height: Double) -> Double {
        Self.plotBottom - min(height, top) / top * (Self.plotBottom - Self.plotTop)
    }

    private func extent(_ start: Date, _ end: Date, least: Double) -> (x: Double, width: Double) {
        let first = x(start.timeIntervalSince1970)
        let last = x(end.timeIntervalSince1970)
        let width = max(last - first, least)
        return (min((first + last - width) / 2, Self.right - width), width)
    }

    private var columns: [Column] {
        var columns = [Column](repeating: Column(), count: Int(Self.right - Self.left))
        for record in history.records {
            guard let judgement = record.judgement else { continue }
            let place = Int(x(record.time) - Self.left)
            let index = min(max(place, 0), columns.count - 1)
            let height = Self.height(judgement.pValue)
            columns[index].least = min(columns[index].least, height)
            columns[index].greatest = max(columns[index].greatest, height)
            if judgement.isAnomaly {
                columns[index].anomaly = max(columns[index].anomaly, height)
            }
            columns[index].threshold = Self.height(judgement.probability)
            columns[index].count += 1
        }
        return columns
    }

    // MARK: Parts

    private func drawGrid(in svg: inout SVG, to bottom: Double) {
        let step = top > 6 ? 2.0 : 1.0
        for power in stride(from: 0, through: top, by: step) {
            svg.line(Self.left, y(power), Self.right, y(power), color: Color.grid)
            svg.text(
                Self.left - 10, y(power) + 4, Self.oneIn(power), size: 12, color: Color.faint,
                anchor: "end")
        }
        for tick in ticks {
            let place = x(tick.time)
            svg.line(place, Self.plotTop, place, bottom, color: Color.grid)
            svg.text(
                place, bottom + 18, tick.label, size: 12, color: Color.faint, anchor: "middle")
        }
        let axis = summary.timeColumn == nil ? "record" : "time, UTC"
        svg.text(
            (Self.left + Self.right) / 2, bottom + 36, axis, size: 12, color: Color.faint,
            anchor: "middle")
        svg.text(
            24, (Self.plotTop + Self.plotBottom) / 2, "one normal record in so many is as strange",
            size: 12, color: Color.faint, anchor: "middle", isUpright: true)
    }

    /// `1 in 100`.
    private static func oneIn(_ power: Double) -> String {
        switch Int(power) {
        case 0: "1"
        case 1...5: Format.count(Int(pow(10, power)))
        default: Format.compact(Int64(pow(10, power)))
        }
    }

    /// Where nothing was scored the plot is grey.
    private func drawUnscored(in svg: inout SVG) {
        guard let first = history.records.first(where: { $0.judgement != nil }) else {
            svg.text(
                (Self.left + Self.right) / 2, (Self.plotTop + Self.plotBottom) / 2,
                "no record was scored", size: 14, color: Color.faint, anchor: "middle")
            return
        }
        let width = x(first.time) - Self.left
        guard width >= 1 else { return }
        svg.rectangle(
            Self.left, Self.plotTop, width, Self.plotBottom - Self.plotTop, fill: "#eeeeee")
    }

    private func drawScores(_ columns: [Column], in svg: inout SVG) {
        var path = ""
        var alarms = ""
        for (index, column) in columns.enumerated() where column.count > 0 {
            let place = SVG.number(Self.left + Double(index) + 0.5)
            // A column of one record is a dot, not nothing.
            let high = y(column.greatest)
            let low = max(y(column.least), high + 1.5)
            path += "M\(place) \(SVG.number(low))V\(SVG.number(high))"
            if column.anomaly.isFinite {
                let height = y(column.anomaly)
                alarms += "M\(place) \(SVG.number(height + 2.5))V\(SVG.number(height - 2.5))"
            }
        }
        svg.path(path, color: Color.score, width: 1)
        svg.path(alarms, color: Color.alarm, width: 3)
    }

    private func drawThreshold(_ columns: [Column], in svg: inout SVG) {
        var path = ""
        var last: Double?
        for (index, column) in columns.enumerated() where column.count > 0 {
            let place = SVG.number(Self.left + Double(index))
            let height = SVG.number(y(column.threshold))
            if last == nil { path += "M\(place) \(height)" }
            if let last, last != column.threshold {
                path += "H\(place)V\(height)"
            }
            last = column.threshold
        }
        if last != nil { path += "H\(SVG.number(Self.right))" }
        svg.path(path, color: Color.threshold, width: 1.5, dashes: "6 4")
    }

    // MARK: Lanes

    private struct Lane {
        var name: String
        var draw: (inout SVG, Double) -> Void
    }

    private var lanes: [Lane] {
        var lanes = [
            Lane(name: "alarms") { svg, top in
                for episode in summary.episodes {
                    let (x, width) = extent(episode.startedAt, episode.lastAnomalyAt, least: 1.5)
                    let isFalse = episode.isLabelled == false
                    svg.rectangle(
                        x, top + 3, width, Self.laneHeight - 6, fill: Color.alarm,
                        opacity: isFalse ? 0.45 : 1)
                }
            }
        ]
        if let windows = summary.labels?.windows {
            lanes.append(
                Lane(name: "windows") { svg, top in
                    for window in windows { draw(window, in: &svg, top) }
                })
        }
        lanes.append(
            Lane(name: "fits") { svg, top in
                for fit in summary.fits.all {
                    let place = x(fit.queuedAt.timeIntervalSince1970)
                    let isAccepted = fit.state == "accepted"
                    svg.line(
                        place, top + (isAccepted ? 2 : 8), place,
                        top + Self.laneHeight - (isAccepted ? 2 : 8), color: Color.fit,
                        width: isAccepted ? 2 : 1)
                }
            })
        return lanes
    }

    private func draw(_ window: ReplayLabels.Window, in svg: inout SVG, _ top: Double) {
        let (x, width) = extent(window.from, window.to, least: 2)
        let color =
            window.isHit == true ? Color.hit : window.isHit == false ? Color.alarm : Color.faint
        svg.rectangle(x, top + 3, width, Self.laneHeight - 6, fill: color)
        svg.rectangle(
            x, Self.plotTop, width, Self.plotBottom - Self.plotTop, fill: color, opacity: 0.12)
        let word = window.isHit == true ? "hit" : window.isHit == false ? "missed" : "not scored"
        svg.text(
            min(max(x + width / 2, Self.left + 20), Self.right - 24), Self.plotTop - 6, word,
            size: 11, color: color, anchor: "middle")
    }

    private func drawKey(in svg: inout SVG) {
        var x = Self.right
        for (name, color) in [
            ("threshold", Color.threshold), ("anomalies", Color.alarm), ("records", Color.score),
        ] {
            x -= Double(name.count) * 7 + 26
            svg.rectangle(x, 28, 12, 8, fill: color)
            svg.text(x + 16, 36, name, size: 12, color: Color.faint)
        }
    }

    // MARK: Ticks

    private var ticks: [(time: Double, label: String)] {
        guard summary.timeColumn != nil else { return recordTicks }
        let span = to - from
        let steps: [Double] = [
            1, 5, 15, 60, 300, 900, 3_600, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
            1_209_600,
        ]
        guard let step = steps.first(where: { span / $0 <= 12 }) else { return monthTicks }
        return stride(from: (from / step).rounded(.up) * step, through: to, by: step).map {
            let text = Format.time(Date(timeIntervalSince1970: $0))
            let label =
                switch step {
                case ..<60: text.dropFirst(11).prefix(8)
                case ..<86_400: text.dropFirst(5).prefix(11)
                default: text.prefix(10)
                }
            return ($0, String(label))
        }
    }

    /// The first days of months.
    private var monthTicks: [(time: Double, label: String)] {
        var calendar = Calendar(identifier: .gregorian)
        calendar.timeZone = .gmt
        let parts = calendar.dateComponents(
            [.year, .month], from: Date(timeIntervalSince1970: from))
        guard let start = calendar.date(from: DateComponents(year: parts.year, month: 1)) else {
            return []
        }
        let months = (to - from) / (30.44 * 86_400)
        let step = [1, 2, 3, 6].first { months / Double($0) <= 12 } ?? 12 * Int(months / 144 + 1)
        return stride(from: 0, through: Int(months) + 24, by: step).compactMap { count in
            calendar.date(byAdding: .month, value: count, to: start).flatMap { date in
                let time = date.timeIntervalSince1970
                guard (from...to).contains(time) else { return nil }
                return (time, String(Format.time(date).prefix(7)))
            }
        }
    }

    /// Round numbers of records, which come evenly.
    private var recordTicks: [(time: Double, label: String)] {
        guard let rate = summary.recordsPerDay else { return [] }
        let count = to * rate / 86_400
        let power = pow(10, log10(max(count, 10)).rounded(.down))
        let step = [0.1, 0.2, 0.5, 1].map { $0 * power }.first { count / $0 <= 12 } ?? power
        return stride(from: step, through: count, by: step).map {
            ($0 / rate * 86_400, Format.count(Int64($0.rounded())))
        }
    }
}
