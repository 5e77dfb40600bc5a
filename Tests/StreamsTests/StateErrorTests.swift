import Foundation
import Streams
import Testing

struct StateErrorTests {
    @Test func aReadOnlyFileSystemIsNoMatterOfOwnerAndMode() {
        let error = StateError.file(path: "/state/lock", operation: "open", code: EROFS)
        #expect(error.description == "/state/lock: open: Read-only file system")
        #expect(
            error.hint == """
                the file system is read-only: mount it for writing, or, where the unit makes it so, name \
                the folder under ReadWritePaths
                """)
        #expect(
            StateError.file(path: "/state/lock", operation: "open", code: EACCES).hint
                == "run as the owner of /state/lock, or change its owner or mode")
    }
}
