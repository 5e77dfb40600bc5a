import RealModule

/// A mixture of flows in equal shares: the mean of their densities, an exact density itself.
///
///     ln p(x | c) = ln (1/K) Σₖ exp(ln pₖ(x | c))
///
/// Flows that were fitted to the same rows from different starts agree where there are rows and err
/// in different places where there are none: their mean errs less than each of them.
public struct FlowMixture<Scalar: FlowScalar>: Sendable {
    /// The flows, K of them.
    public let members: [Flow<Scalar>]

    /// A mixture.
    ///
    /// - Precondition: There is a member, and all have the same features and context.
    public init(_ members: [Flow<Scalar>]) {
        precondition(
            members.first.map { first in
                members.allSatisfy {
                    ($0.featureCount, $0.contextCount) == (first.featureCount, first.contextCount)
                }
            } ?? false, "a mixture has members, of the same features and context")
        self.members = members
    }

    /// The number of features of a row, D.
    public var featureCount: Int { members[0].featureCount }
    /// The number of columns of the context, C; 0 for none.
    public var contextCount: Int { members[0].contextCount }
    /// How many numbers all members learned.
    public var parameterCount: Int { members.reduce(0) { $0 + $1.parameters.count } }

    /// The log-likelihood `ln p(x | c)` of each row, in nats.
    ///
    /// - Parameters:
    ///   - rows: Rows, shape `[N, D]`.
    ///   - context: What is known beside them, shape `[N, C]`; nil when there is no context.
    ///   - parallel: How to run tiles of rows; the result does not depend on it.
    /// - Returns: A finite number for each row, shape `[N]`; −1e30 for a row whose likelihood is
    ///   lower than that or not a number.
    /// - Complexity: O(N · W), with W the number of parameters of all members.
    public func logLikelihood(
        _ rows: Matrix<Scalar>, context: Matrix<Scalar>? = nil, parallel: ParallelFor = .serial
    ) -> [Double] {
        Self.logMean(memberLogLikelihoods(rows, context: context, parallel: parallel))
    }

    /// The log-likelihood of each row under each member, in nats: K lists of N, each as `Flow.logLikelihood` gives it.
    ///
    /// - Parameters:
    ///   - rows: Rows, shape `[N, D]`.
    ///   - context: What is known beside them, shape `[N, C]`; nil when there is no context.
    ///   - parallel: How to run tiles of rows; the result does not depend on it.
    public func memberLogLikelihoods(
        _ rows: Matrix<Scalar>, context: Matrix<Scalar>? = nil, parallel: ParallelFor = .serial
    ) -> [[Double]] {
        members.map { $0.logLikelihood(rows, context: context, parallel: parallel) }
    }

    /// The logarithm of the mean of densities: `ln (1/K) Σₖ exp(ln pₖ)` of each row.
    ///
    /// - Parameter members: The log-likelihoods of the same N rows under each member, in nats; at least one list.
    public static func logMean(_ members: [[Double]]) -> [Double] {
        var total = members[0]
        guard members.count > 1 else { return total }
        for next in members.dropFirst() {
            for row in total.indices { total[row] = logSum(total[row], next[row]) }
        }
        let share = Double.log(Double(members.count))
        return total.map { $0 - share }
    }

    /// Draws rows from the density.
    ///
    /// - Parameters:
    ///   - count: The number of rows, N.
    ///   - context: What is known beside them, shape `[N, C]`.
    ///   - generator: Where members and latent rows are drawn from.
    /// - Returns: Rows, shape `[N, D]`.
    public func sample(
        _ count: Int, context: Matrix<Scalar>? = nil,
        using generator: inout some RandomNumberGenerator
    ) -> Matrix<Scalar> {
        let chosen = (0..<count).map { _ in Int.random(in: members.indices, using: &generator) }
        var drawn = Matrix<Scalar>(rowCount: count, columnCount: featureCount)
        for (index, member) in members.enumerated() {
            let places = chosen.indices.filter { chosen[$0] == index }
            let rows = member.sample(
                places.count, context: context?.selectingRows(places), using: &generator)
            for (row, place) in places.enumerated() {
                for feature in 0..<featureCount { drawn[place, feature] = rows[row, feature] }
            }
        }
        return drawn
    }

    /// `ln (exp a + exp b)`, without leaving the range of a Double.
    private static func logSum(_ a: Double, _ b: Double) -> Double {
        max(a, b) + Double.log(onePlus: Double.exp(min(a, b) - max(a, b)))
    }
}

extension FlowMixture {
    /// The most members that a file may name.
    private static var memberLimit: Int { 64 }

    /// Writes the mixture into a tensor file: the number of its members under `flow.members`, and each
    /// member, `k`, with names that begin with `flow.k.`.
    public func write(into file: inout TensorFile) {
        file.metadata["flow.members"] = String(members.count)
        for (index, member) in members.enumerated() {
            member.write(into: &file, prefix: "flow.\(index).")
        }
    }

    /// Reads the mixture that `write(into:)` wrote.
    ///
    /// - Throws: `missingMetadata`, `badMetadata`, `missingTensor` or `badTensor`.
    public init(reading file: TensorFile) throws(FlowDensityError) {
        let text = try file.metadataValue("flow.members")
        guard let count = Int(text), (1...Self.memberLimit).contains(count) else {
            throw .badMetadata(
                file: file.name, key: "flow.members", found: text,
                expected: "a whole number from 1 to \(Self.memberLimit)")
        }
        var members: [Flow<Scalar>] = []
        for index in 0..<count {
            let member = try Flow<Scalar>(reading: file, prefix: "flow.\(index).")
            if let first = members.first {
                for (key, found, expected) in [
                    ("features", member.featureCount, first.featureCount),
                    ("context", member.contextCount, first.contextCount),
                ] where found != expected {
                    throw .badMetadata(
                        file: file.name, key: "flow.\(index).\(key)", found: String(found),
                        expected: "\(expected), as flow.0 has")
                }
            }
            members.append(member)
        }
        self.init(members)
    }
}
