import Foundation
import Testing

/// The program that draws densities, with fits too short to learn and panels too small to see.
struct DensitiesTests {
    @Test func eachKindOfFlowIsDrawnAsPNG() throws {
        let tool = try SamplesTool("flowguard-densities")
        defer { tool.remove() }
        let result = try tool.run("--steps", "2", "--side", "16", "--output", "pictures")
        #expect(result.status == 0, "\(result.errors)")
        for kind in ["nice", "realnvp", "glow", "spline"] {
            let file = try Data(
                contentsOf: tool.folder.appendingPathComponent("pictures/\(kind).png"))
            // The signature, then the sides: three panels of 16 by two, gaps of 8 around each.
            #expect(Array(file.prefix(8)) == [137, 80, 78, 71, 13, 10, 26, 10], "\(kind)")
            #expect(Array(file[16..<24]) == [0, 0, 0, 80, 0, 0, 0, 56], "\(kind)")
            #expect(result.output.contains("\(kind)"))
        }
        #expect(result.output.contains("held-out nats"))
    }

    @Test func whatIsDrawnIsReadByAnotherProgram() throws {
        let tool = try SamplesTool("flowguard-densities")
        defer { tool.remove() }
        let drawn = try tool.run("--steps", "1", "--side", "33", "--only", "nice")
        #expect(drawn.status == 0, "\(drawn.errors)")
        // Checks every chunk's CRC and Adler's sum, and undoes the filter.
        let script = """
            import struct, sys, zlib
            data = open(sys.argv[1], "rb").read()
            place, rows = 8, b""
            while place < len(data):
                size, kind = struct.unpack(">I4s", data[place : place + 8])
                body = data[place + 8 : place + 8 + size]
                (crc,) = struct.unpack(">I", data[place + 8 + size : place + 12 + size])
                assert crc == zlib.crc32(kind + body), kind
                if kind == b"IHDR": width, height = struct.unpack(">II", body[:8])
                if kind == b"IDAT": rows = zlib.decompress(body)
                place += 12 + size
            assert len(rows) == (width + 1) * height, (width, height, len(rows))
            colors = set()
            for row in range(height):
                color = 0
                assert rows[row * (width + 1)] == 1
                for byte in rows[row * (width + 1) + 1 : (row + 1) * (width + 1)]:
                    color = (color + byte) % 256
                    colors.add(color)
                assert color == 255, "each row ends in the gap"
            assert len(colors) > 50, colors
            """
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [
            "python3", "-c", script, tool.folder.appendingPathComponent("nice.png").path,
        ]
        try process.run()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
    }

    @Test func aPanelWithoutSideIsRefused() throws {
        let tool = try SamplesTool("flowguard-densities")
        defer { tool.remove() }
        let result = try tool.run("--side", "0")
        #expect(result.status == 64)
        #expect(result.errors.contains("a panel 16 to 1024 pixels a side"))
    }
}
