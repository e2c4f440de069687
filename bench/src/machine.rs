//! The line that every figure needs beside it: which machine, how many cores, how near they are.

/// What the figures were measured on.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// One cache line to another core and back. Shared-memory figures move with it.
    pub(crate) cache_line_round_trip_ns: f64,
    /// Bytes that a receiver's kernel queue may hold: what the kernel side loses depends on it.
    pub(crate) rmem_max_bytes: u64,
}

/// Reads the machine's description from `/proc`.
pub(crate) fn describe(cache_line_round_trip_ns: f64) -> Machine {
    let processor = first_value("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".into());
    let kernel = trimmed("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".into());
    Machine {
        processor,
        cores: cores(),
        kernel,
        cache_line_round_trip_ns,
        rmem_max_bytes: trimmed("/proc/sys/net/core/rmem_max")
            .and_then(|text| text.parse().ok())
            .unwrap_or(0),
    }
}

/// Cores that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}, {} cores, Linux {}, cache line to another core and back {:.0} ns",
            self.processor, self.cores, self.kernel, self.cache_line_round_trip_ns
        )
    }
}

fn trimmed(path: &str) -> Option<String> {
    std::fs::read_to_string(path)
        .ok()
        .map(|text| text.trim().to_owned())
}

fn first_value(path: &str, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
