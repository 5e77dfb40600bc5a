import Detection
import Foundation
import Ingest
import Logging
import Settings
import Store

extension StreamWorker {
    /// Whether columns may still join or leave: nobody named the features, and no fit has begun.
    var isSchemaOpen: Bool {
        configuration.features == nil && serving == nil
            && (state.schema == nil || state.tally != nil)
    }

    /// Whether the features are those that the configuration asks for.
    var isSchemaCurrent: Bool { state.basis == WorkerState.SchemaBasis(configuration) }

    /// Finds the features by the first records, and again when the configuration chooses others.
    ///
    /// - Parameter batch: Lines with the header of their input.
    func settleSchema(by batch: LineBatch) throws {
        guard !batch.lines.isEmpty else { return }
        guard state.schema == nil || !isSchemaCurrent else {
            if isSchemaOpen { try learnColumns(from: batch) }
            return
        }
        if let reduced = schemaLessExcluded { return try use(reduced, tally: nil) }
        var tally = SchemaTally()
        if configuration.features == nil { tally.add(batch, of: configuration) }
        let tallied = tally.schema(of: configuration)
        let found: Schema
        do throws(IngestError) {
            found = try SchemaInference.infer(
                batch, format: configuration.format, features: configuration.features,
                exclude: configuration.exclude, time: configuration.timeColumn)
        } catch {
            if case .noNumericColumns = error, let tallied {
                // Each column has a cell that is no number; most records have numbers all the same.
                found = tallied
            } else if case .file = configuration.source {
                throw error
            } else {
                // A client's lines go to the quarantine; a file waits.
                return failing(error)
            }
        }
        let isSettled = configuration.features != nil || tally.isComplete
        try use(tallied ?? found, tally: isSettled ? nil : tally)
    }

    /// The features without those that were excluded since, where nothing else has changed: no record is asked.
    private var schemaLessExcluded: Schema? {
        let new = WorkerState.SchemaBasis(configuration)
        let old = state.basis
        guard let schema = state.schema, state.tally == nil,
            (new.features, new.time) == (old.features, old.time), new.features == nil,
            Set(new.exclude).isSuperset(of: old.exclude)
        else { return nil }
        let features = schema.features.filter { !new.exclude.contains($0) }
        return features.isEmpty ? nil : Schema(features: features, time: schema.time)
    }

    /// Lets columns join and leave until enough records were seen.
    private func learnColumns(from batch: LineBatch) throws {
        guard var tally = state.tally else { return }
        tally.add(batch, of: configuration)
        guard let schema = tally.schema(of: configuration) ?? state.schema else { return }
        try use(schema, tally: tally.isComplete ? nil : tally)
    }

    /// Makes these the stream's features; a new window begins where they differ from those before.
    private func use(_ schema: Schema, tally: SchemaTally?) throws {
        var next = state
        next.basis = WorkerState.SchemaBasis(configuration)
        next.schema = schema
        // A model that serves, and reads these features, needs no tally.
        next.tally = serving == nil || schema != state.schema ? tally : nil
        guard schema != state.schema || window == nil else {
            state = next
            return
        }
        if state.schema != nil { try leaveFeatures(for: schema, in: &next) }
        next.windowCapacity = WorkerState.capacity(for: configuration)
        let path = environment.directory.windowPath(name, generation: next.windowGeneration)
        let new = try TrainingWindow(path: path, schema: schema, capacity: next.windowCapacity)
        new.rewind(to: 0)
        if let old = window, state.schema != nil, next.windowTotal == 0,
            let kept = try records(of: old, reducedTo: schema)
        {
            try new.append(kept)
            next.windowTotal = new.total
            next.counters.unscored -= new.total
        }
        new.rewind(to: next.windowTotal)
        window = new
        state = next
        forgetDecoders()
        for rule in configuration.alarmRules where !schema.features.contains(rule.feature) {
            logger.warning(
                "rule for an alarm has no effect: no such feature",
                metadata: ["feature": "\(rule.feature)"])
        }
        logger.info(
            "features found",
            metadata: [
                "features": "\(schema.features.joined(separator: ","))",
                "time": "\(schema.time ?? "none")",
            ])
    }

    /// What belongs to the former features ends: the model, the window, and a log-likelihood set by hand.
    private func leaveFeatures(for schema: Schema, in next: inout WorkerState) throws {
        if let serving {
            try environment.store.setModelState(
                id: serving.row.id, state: .retired, reason: "the stream's features changed",
                at: currentTime())
        }
        serving = nil
        hasGivenUpWaiting = false
        next.formerModelID = try environment.store.models(stream: name).map(\.id).max() ?? 0
        next.counters.unscored += state.pendingCount
        next.windowGeneration += 1
        next.windowTotal = 0
        next.pendingFrom = 0
        next.context = ContextState()
        next.excluded = ExcludedRanges()
        next.maintained = ExcludedRanges()
        next.withheld = ExcludedRanges()
        next.fittedThrough = 0
        next.lastFitAt = nil
        next.lastFitTotal = 0
        if case .logLikelihood(let value) = next.choice {
            next.choice = .configured
            next.droppedLogLikelihood = value
            logger.warning(
                "threshold set by hand dropped: the features changed",
                metadata: ["log_likelihood": "\(value)"])
        }
    }

    /// The records that wait for the first model, with fewer columns; `nil` when they lack one, or a model has seen them.
    private func records(of window: TrainingWindow, reducedTo schema: Schema) throws -> RecordBatch?
    {
        guard isSchemaOpen, let from = state.pendingFrom, window.schema.time == schema.time else {
            return nil
        }
        let places = schema.features.compactMap { window.schema.features.firstIndex(of: $0) }
        guard places.count == schema.features.count else { return nil }
        let old = try window.records(from..<state.windowTotal)
        var kept = RecordBatch(schema: schema)
        for row in 0..<old.rowCount {
            let values = old.row(row)
            kept.append(
                places.map { values[values.startIndex + $0] }, time: old.times[row],
                offset: old.offsets[row])
        }
        return kept
    }
}

/// Which columns the first records of a stream hold, until its features are settled.
///
/// A column is a feature when at least half of the records have a number in it: so neither a first record that lacks a
/// column nor one that has too many decides for ever.
struct SchemaTally: Codable, Equatable {
    /// After so many records the features are settled.
    static let limit = 200
    /// Columns that are looked at, and the bytes of their names: what comes is bounded.
    private static let mostColumns = 1_024
    private static let mostNameBytes = 256

    private(set) var records = 0
    /// Lines that were looked at, also those without any number.
    private(set) var lines = 0
    private var names: [String] = []
    private var counts: [String: Int] = [:]
    private var timeCounts: [String: Int] = [:]

    var isComplete: Bool { records >= Self.limit || lines >= 100 * Self.limit }

    /// Looks at the lines one by one.
    mutating func add(_ batch: LineBatch, of configuration: StreamConfiguration) {
        guard !isComplete else { return }
        // What is wrong with the header is told where the batch is decoded.
        try? SchemaInference.inferEach(
            batch, format: configuration.format, time: configuration.timeColumn
        ) { found in
            lines += 1
            if let found { add(found) }
            return !isComplete
        }
    }

    private mutating func add(_ found: Schema) {
        records += 1
        if let time = found.time, time.utf8.count <= Self.mostNameBytes {
            timeCounts[time, default: 0] += 1
        }
        for name in found.features where name.utf8.count <= Self.mostNameBytes {
            if let count = counts[name] {
                counts[name] = count + 1
            } else if names.count < Self.mostColumns {
                names.append(name)
                counts[name] = 1
            }
        }
    }

    /// The columns that most records have; `nil` when there is none.
    func schema(of configuration: StreamConfiguration) -> Schema? {
        let time =
            configuration.timeColumn
            ?? timeCounts.max { ($0.value, $1.key) < ($1.value, $0.key) }
            .flatMap { 2 * $0.value >= records ? $0.key : nil }
        let features = names.filter { name in
            name != time && !configuration.exclude.contains(name)
                && 2 * (counts[name] ?? 0) >= records
        }
        return features.isEmpty ? nil : Schema(features: features, time: time)
    }
}
