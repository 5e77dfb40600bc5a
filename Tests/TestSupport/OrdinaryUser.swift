import Glibc

/// Runs a body with the rights of an ordinary user on files, also when the superuser runs the tests.
///
/// The right is taken from the calling thread alone. `seteuid` would take it from the whole process,
/// and so from every test that runs at the same time.
///
/// - Precondition: `body` does not leave its thread.
public func asOrdinaryUser<Result>(_ body: () -> Result) -> Result {
    guard geteuid() == 0, let symbol = dlsym(nil, "setfsuid") else { return body() }
    // Glibc's module leaves <sys/fsuid.h> out; the type is the one declared there.
    let setFileSystemUser = unsafeBitCast(
        symbol, to: (@convention(c) (uid_t) -> CInt).self)
    _ = setFileSystemUser(65_534)
    defer { _ = setFileSystemUser(0) }
    return body()
}
