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

    /// Whether a model serves on until enough records have told if its columns are still those to watch.
    ///
    /// Only of long rows: a header tells all columns at once, and a step only those that are not silent.
    var isSchemaReconsidered: Bool {
        configuration.longRows != nil && configuration.features == nil && serving != nil
            && state.tally != nil
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
        if let adapted = adaptedSchema { return try use(adapted, tally: nil) }
        var tally = SchemaTally()
        if configuration.features == nil { tally.add(batch, of: configuration) }
        let tallied = tally.schema(of: configuration)
        let found: Schema
        do throws(IngestError) {
            let inferred = try SchemaInference.infer(
                batch, format: configuration.format, features: configuration.features,
                categories: configuration.categories, exclude: configuration.exclude,
                time: configuration.timeColumn)
            found = inferred.schema
            let features = tallied?.features ?? found.features
            tell(inferred.leftOut.filter { !features.contains($0.name) })
            tell(rising: inferred.rising.filter(features.contains))
        } catch {
            if case .noNumericColumns = error, let tallied {
                // Each column has a cell that is no number; most records have numbers all the same.
                found = tallied
            } else if configuration.source.isFile {
                throw error
            } else {
                // A client's lines go to the quarantine; a file waits.
                return failing(error)
            }
        }
        let isSettled = configuration.features != nil || tally.isComplete
        try use(tallied ?? configuration.allowingMissing(in: found), tally: isSettled ? nil : tally)
    }

    /// Says which features count on, so that they leave what a model learns.
    private func tell(rising: [String]) {
        for name in rising.prefix(20) {
            logger.notice("feature only rises", metadata: ["column": "\(name)"])
        }
    }

    /// Says which columns nobody watches.
    private func tell(_ leftOut: [InferredSchema.LeftOut]) {
        for column in leftOut.prefix(20) {
            logger.info(
                "column left out",
                metadata: ["column": "\(column.name)", "holds": "\(column.content.rawValue)"])
        }
    }

    /// The columns after a change of the configuration that can be followed without asking a record: others excluded or
    /// made categories, or another policy for missing values.
    var adaptedSchema: Schema? {
        let new = WorkerState.SchemaBasis(configuration)
        let old = state.basis
        let named = configuration.categories
        guard let schema = state.schema, state.tally == nil,
            (new.features, new.time) == (old.features, old.time), new.features == nil,
            new.longRows == old.longRows, new.key == old.key,
            Set(new.exclude).isSuperset(of: old.exclude),
            Set(named).isSuperset(of: old.categories ?? [])
        else { return nil }
        let left = Set(new.exclude).union(named)
        let features = schema.features.filter { !left.contains($0) }
        guard !features.isEmpty else { return nil }
        return configuration.allowingMissing(
            in: Schema(
                features: features,
                categories: named + schema.categories.filter { !left.contains($0) },
                time: schema.time))
    }

    /// Lets columns join and leave until enough records were seen.
    private func learnColumns(from batch: LineBatch) throws {
        guard var tally = state.tally else { return }
        grow(&tally) { $0.add(batch, of: configuration) }
        guard let schema = tally.schema(of: configuration) ?? state.schema else { return }
        try use(schema, tally: tally.isComplete ? nil : tally)
    }

    /// Adds to a tally, and says which columns have turned out to count the records.
    func grow(_ tally: inout SchemaTally, by add: (inout SchemaTally) -> Void) {
        let known = tally.rowNumbers(of: configuration)
        add(&tally)
        tell(tally.rowNumbers(of: configuration).filter { !known.contains($0) })
    }

    /// Makes these the stream's features; a new window begins where they differ from those before.
    func use(_ schema: Schema, tally: SchemaTally?) throws {
        var next = state
        // Of another rhythm, or with another key, records are others though their columns are the same.
        let basis = WorkerState.SchemaBasis(configuration)
        let isOfOtherRhythm =
            (state.basis.longRows, state.basis.key) != (basis.longRows, basis.key)
        let isOther = schema != state.schema || isOfOtherRhythm
        next.basis = basis
        next.schema = schema
        if configuration.longRows == nil { next.assembler = nil }
        // A model that serves, and reads these features, needs no tally.
        next.tally = serving == nil || isOther ? tally : nil
        guard isOther || window == nil else {
            state = next
            return
        }
        if state.schema != nil { try leaveFeatures(for: schema, in: &next) }
        next.windowCapacity = WorkerState.capacity(for: configuration)
        let path = environment.directory.windowPath(name, generation: next.windowGeneration)
        let new = try TrainingWindow(path: path, schema: schema, capacity: next.windowCapacity)
        new.rewind(to: 0)
        if let old = window, state.schema != nil, !isOfOtherRhythm, next.windowTotal == 0,
            let kept = try records(of: old, reducedTo: schema)
        {
            try new.append(kept)
            next.windowTotal = new.total
            // Those of a history wait for nothing.
            let waiting = min(state.pendingCount, new.total)
            next.counters.unscored -= waiting
            let first = new.total - waiting
            next.waitingInputs = state.waitingInputs.shifted(by: first - (state.pendingFrom ?? 0))
            next.pendingFrom = first
        }
        new.rewind(to: next.windowTotal)
        window = new
        state = next
        forgetDecoders()
        guard loan == nil else { return }
        for rule in configuration.alarmRules where !schema.features.contains(rule.feature) {
            logger.warning(
                "rule for an alarm has no effect: no such feature",
                metadata: ["feature": "\(rule.feature)"])
        }
        logger.info(
            "features found",
            metadata: [
                "features": "\(schema.features.joined(separator: ","))",
                "categories": "\(schema.categories.joined(separator: ","))",
                "time": "\(schema.time ?? "none")",
            ])
    }

    /// What belongs to the former features ends: the model, the window, and a log-likelihood set by hand.
    private func leaveFeatures(for schema: Schema, in next: inout WorkerState) throws {
        if let serving, ownsModel {
            try environment.store.setModelState(
                id: serving.row.id, state: .retired, reason: "the stream's features changed",
                at: currentTime())
        }
        serving = nil
        hasGivenUpWaiting = false
        next.formerModelID = max(
            try environment.store.models(stream: name).map(\.id).max() ?? 0,
            state.borrowedModel ?? 0)
        next.counters.unscored += state.pendingCount
        next.windowGeneration += 1
        next.windowTotal = 0
        next.pendingFrom = 0
        next.waitingInputs = InputChanges()
        next.context = ContextState()
        next.expectedPast = ExpectedPast()
        next.excluded = ExcludedRanges()
        next.maintained = ExcludedRanges()
        next.withheld = ExcludedRanges()
        next.fittedThrough = 0
        next.lastFitAt = nil
        next.lastFitTotal = 0
        next.recentAlarms = RecentAlarms()
        if case .logLikelihood(let value) = next.choice {
            next.choice = .configured
            next.droppedLogLikelihood = value
            logger.warning(
                "threshold set by hand dropped: the features changed",
                metadata: ["log_likelihood": "\(value)"])
        }
    }

    /// The records that are held for the first model, with fewer columns; `nil` when they lack one, or a model has seen them.
    private func records(of window: TrainingWindow, reducedTo schema: Schema) throws -> RecordBatch?
    {
        guard isSchemaOpen, state.pendingFrom != nil, window.schema.time == schema.time else {
            return nil
        }
        return try window.records(0..<state.windowTotal).reduced(to: schema)
    }
}

extension StreamConfiguration {
    /// The schema whose records may lack what the policies of this stream allow.
    func allowingMissing(in schema: Schema) -> Schema {
        (detectorOptions.missing ?? MissingPolicies()).applied(to: schema, key: key?.column)
    }
}

/// Which columns the first records of a stream hold, until its features are settled.
///
/// A column is a feature when at least half of the records have a number in it: so neither a first record that lacks a
/// column nor one that has too many decides for ever.
package struct SchemaTally: Codable, Equatable {
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
    /// Records in which a column is true or false.
    private var categoryCounts: [String: Int]?
    private var timeCounts: [String: Int] = [:]
    /// Whether a column counts the records.
    private var rises: [String: Rise]?

    package init() {}

    package var isComplete: Bool { records >= Self.limit || lines >= 100 * Self.limit }

    /// Looks at the lines one by one.
    mutating func add(_ batch: LineBatch, of configuration: StreamConfiguration) {
        guard !isComplete else { return }
        // What is wrong with the header is told where the batch is decoded.
        try? SchemaInference.inferEach(
            batch, format: configuration.format, time: configuration.timeColumn
        ) { found, numbers in
            lines += 1
            if let found { add(found, numbers) }
            return !isComplete
        }
    }

    /// Takes in the steps of long rows.
    package mutating func add(_ outcome: LongAssembler.Outcome, columns: [String]) {
        for step in 0..<outcome.stepCount where !isComplete {
            lines += 1
            add(
                Schema(features: outcome.present(inStep: step, of: columns), time: nil),
                outcome.numbers(inStep: step))
        }
    }

    private mutating func add(_ found: Schema, _ numbers: [Double]) {
        records += 1
        if let time = found.time, time.utf8.count <= Self.mostNameBytes {
            timeCounts[time, default: 0] += 1
        }
        for name in found.columns where name.utf8.count <= Self.mostNameBytes {
            guard counts[name] != nil || names.count < Self.mostColumns else { continue }
            if counts[name] == nil { names.append(name) }
            counts[name, default: 0] += 1
        }
        for (name, number) in zip(found.features, numbers) where counts[name] != nil {
            rises = rises ?? [:]
            rises?[name, default: Rise()].add(number)
        }
        for name in found.categories where counts[name] != nil {
            categoryCounts = categoryCounts ?? [:]
            categoryCounts?[name, default: 0] += 1
        }
    }

    /// The columns that most records have, and that do not count these; `nil` when there is none.
    package func schema(of configuration: StreamConfiguration) -> Schema? {
        let found = frequent(of: configuration)
        let left = Set(rowNumbers(of: configuration).map(\.name))
        let features = found.features.filter { !left.contains($0) }
        guard !features.isEmpty else { return nil }
        let named = configuration.categories
        return configuration.allowingMissing(
            in: Schema(
                features: features,
                categories: named
                    + found.categories.prefix(
                        max(0, Schema.categoryLimit - named.count)), time: found.time))
    }

    /// Columns that count the records; none where there is no other, so that something is watched.
    package func rowNumbers(of configuration: StreamConfiguration) -> [InferredSchema.LeftOut] {
        let features = frequent(of: configuration).features
        let counting = features.filter { rises?[$0]?.countsRecords == true }
        return counting.count < features.count
            ? counting.map { .init(name: $0, content: .rowNumbers) } : []
    }

    /// The columns that most records have, and that are neither named otherwise nor excluded.
    private func frequent(of configuration: StreamConfiguration) -> Schema {
        let time =
            configuration.longRowsTime ?? configuration.timeColumn
            ?? timeCounts.max { ($0.value, $1.key) < ($1.value, $0.key) }
            .flatMap { 2 * $0.value >= records ? $0.key : nil }
        let named = configuration.categories
        let others = names.filter { name in
            name != time && !configuration.exclude.contains(name) && !named.contains(name)
        }
        func booleans(_ name: String) -> Int { categoryCounts?[name] ?? 0 }
        let features = others.filter { 2 * ((counts[$0] ?? 0) - booleans($0)) >= records }
        let categories = others.filter { 2 * booleans($0) >= records && !features.contains($0) }
        return Schema(features: features, categories: categories, time: time)
    }
}
