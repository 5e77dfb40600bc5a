import Foundation
import FuzzTargets
import Testing

/// What libFuzzer has found worth keeping, run without it.
@Suite struct CorpusTests {
    static let corpus = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent("corpus")

    @Test func everyTargetHasItsFolder() throws {
        let folders = try FileManager.default.contentsOfDirectory(atPath: Self.corpus.path)
        #expect(folders.sorted() == FuzzTarget.allCases.map(\.rawValue).sorted())
    }

    @Test(arguments: FuzzTarget.allCases)
    func partKeepsItsPromises(target: FuzzTarget) throws {
        let folder = Self.corpus.appendingPathComponent(target.rawValue)
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
        var takenCount = 0
        for name in names {
            let input = try Data(contentsOf: folder.appendingPathComponent(name))
            do {
                if try target.check(Array(input)) { takenCount += 1 }
            } catch {
                Issue.record("\(target)/\(name): \(error)")
            }
        }
        // A corpus of which the part takes nothing, or all, has ceased to test it.
        #expect(takenCount > 0 && takenCount < names.count, "\(takenCount) of \(names.count)")
    }
}
