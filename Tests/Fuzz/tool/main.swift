// flowguard-fuzz TARGET [options of libFuzzer] [folders and files]: see CONTRIBUTING.md.

import CLibFuzzer
import Foundation
import FuzzTargets

/// Tells what is wrong with the command, and ends with the exit code for that.
func refuse(_ message: String) -> Never {
    let targets = FuzzTarget.allCases.map(\.rawValue).joined(separator: ", ")
    FileHandle.standardError.write(
        Data("error: \(message)\nhint:  the targets are \(targets)\n".utf8))
    exit(64)
}

// libFuzzer starts the program again with the words that it was given, and leaves alone those with two dashes.
let option = "--target="
guard let word = CommandLine.arguments.dropFirst().first else {
    refuse("expected flowguard-fuzz TARGET [options of libFuzzer]")
}
let name = word.hasPrefix(option) ? String(word.dropFirst(option.count)) : word
guard let chosen = FuzzTarget(rawValue: name) else {
    refuse("expected the name of a target, found '\(name)'")
}
// The function that libFuzzer calls can capture nothing.
let target = chosen

var count = CommandLine.argc
CommandLine.unsafeArgv[1] = strdup(option + name)
var arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = CommandLine.unsafeArgv
let code = LLVMFuzzerRunDriver(&count, &arguments) { bytes, count in
    do {
        try target.check(Array(UnsafeBufferPointer(start: bytes, count: count)))
    } catch {
        FileHandle.standardError.write(Data("flowguard-fuzz \(target): \(error)\n".utf8))
        abort()
    }
    return 0
}
exit(code)
