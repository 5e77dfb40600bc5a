import COpenBLAS

/// The kernels that OpenBLAS chose for this CPU.
public enum BLASCore {
    private static let name = String(cString: fg_blas_prepare())

    /// Sets OpenBLAS up, once in a process: one thread, and the kernels of this CPU even where the
    /// library is older than the CPU and took it for one without AVX2.
    ///
    /// - Returns: OpenBLAS's name of the core whose kernels it uses, such as "Haswell".
    @discardableResult
    public static func prepare() -> String { name }

    /// Whether this CPU has AVX2 and FMA.
    package static var hasAVX2: Bool { fg_cpu_has_avx2() != 0 }
}
