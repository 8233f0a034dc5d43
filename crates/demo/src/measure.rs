//! What a case costs: latency, memory, threads, processor time.
//!
//! Everything about the process is read from `/proc`, so this crate holds no `unsafe`. The clock of `/proc/self/stat`
//! ticks at 100 Hz (`USER_HZ`, fixed in the kernel's ABI on x86_64 and aarch64); a case burns several seconds on each
//! core, so the error is below one percent.
//!
//! *Histogram.* Log-linear, after the HdrHistogram design: 32 buckets for each power of two, so a quantile is off by at
//! most 1/32. One histogram is shared by all clients: 15 KiB in all, where one each would be the largest thing a
//! connection owns. Recording is one relaxed addition; the sums are read after all clients have been waited for, and
//! that wait orders them.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

const SUB_BITS: u32 = 5;
const SUB_BUCKETS: usize = 1 << SUB_BITS;
const BUCKETS: usize = (u64::BITS - SUB_BITS + 1) as usize * SUB_BUCKETS;
const TICK_NS: u64 = 10_000_000;

/// Counts of latencies, in nanoseconds.
pub struct Histogram {
    buckets: Box<[AtomicU64]>,
}

impl Histogram {
    /// An empty one.
    pub fn new() -> Histogram {
        Histogram {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Counts one latency.
    pub fn record(&self, value_ns: u64) {
        // Relaxed: see the head of the file.
        self.buckets[bucket_of(value_ns)].fetch_add(1, Ordering::Relaxed);
    }

    /// The value that `fraction` of the recorded ones do not exceed, or 0 if there are none.
    pub fn quantile_ns(&self, fraction: f64) -> u64 {
        // Relaxed: see the head of the file.
        let counts: Vec<u64> = self.buckets.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        let rank = ((total as f64 * fraction).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return bucket_top(bucket);
            }
        }
        0
    }
}

/// Values below 32 have a bucket each; above, the five bits after the leading one choose within the power of two.
fn bucket_of(value: u64) -> usize {
    let shift = (u64::BITS - SUB_BITS - 1).saturating_sub(value.leading_zeros());
    shift as usize * SUB_BUCKETS + (value >> shift) as usize
}

/// The largest value that falls into the bucket.
fn bucket_top(bucket: usize) -> u64 {
    let shift = (bucket / SUB_BUCKETS).saturating_sub(1);
    let first = ((bucket - shift * SUB_BUCKETS) as u64) << shift;
    first + ((1 << shift) - 1)
}

/// The largest memory and thread count seen so far.
#[derive(Clone, Copy, Default)]
pub struct Peak {
    /// Resident memory.
    pub rss_bytes: u64,
    /// Threads of the process, those of the measurement included.
    pub threads: u64,
}

impl Peak {
    /// Looks at the process once.
    pub fn sample(&mut self) {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        self.rss_bytes = self.rss_bytes.max(field(&status, "VmRSS:") * 1024);
        self.threads = self.threads.max(field(&status, "Threads:"));
    }
}

/// Page tables of the process.
pub fn page_table_bytes() -> u64 {
    field(&fs::read_to_string("/proc/self/status").unwrap_or_default(), "VmPTE:") * 1024
}

/// Processor time of the whole process since it started, user and system.
pub fn cpu_ns() -> u64 {
    cpu_ticks(&fs::read_to_string("/proc/self/stat").unwrap_or_default()).unwrap_or(0) * TICK_NS
}

/// Number of memory mappings of the process.
pub fn mappings() -> u64 {
    let maps = fs::read("/proc/self/maps").unwrap_or_default();
    maps.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// First number after `name` in a file of `name value` lines, or 0.
fn field(status: &str, name: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    value
        .and_then(|value| value.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// Fields 14 and 15 of proc_pid_stat(5), counted after the command, which may hold spaces and parentheses.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after_command) = stat.rsplit_once(')')?;
    let mut fields = after_command.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_tile_the_range() {
        let mut next = 0;
        for bucket in 0..BUCKETS {
            assert_eq!(bucket_of(next), bucket);
            let top = bucket_top(bucket);
            assert_eq!(bucket_of(top), bucket);
            assert!(top - next <= next / SUB_BUCKETS as u64, "bucket {bucket} is too wide");
            next = top.wrapping_add(1);
        }
        assert_eq!(next, 0, "the last bucket ends at u64::MAX");
    }

    #[test]
    fn quantiles_are_close_to_the_sorted_values() {
        let histogram = Histogram::new();
        assert_eq!(histogram.quantile_ns(0.5), 0);
        for value in 1..=100_000 {
            histogram.record(value);
        }
        for (fraction, exact) in [(0.5, 50_000.0), (0.99, 99_000.0), (1.0, 100_000.0)] {
            let error = histogram.quantile_ns(fraction) as f64 / exact - 1.0;
            assert!((0.0..1.0 / 32.0).contains(&error), "{fraction}: off by {error}");
        }
    }

    #[test]
    fn proc_files_parse() {
        assert_eq!(field("Name:\tx\nVmRSS:\t  12 kB\nThreads:\t3\n", "VmRSS:"), 12);
        assert_eq!(field("", "Threads:"), 0);
        assert_eq!(cpu_ticks("1 (a) b)) S 1 1 1 0 -1 4 5 6 7 8 30 12 0 0 20"), Some(42));
        assert_eq!(cpu_ticks("nothing"), None);
    }

    #[test]
    fn this_process_is_visible() {
        let mut peak = Peak::default();
        peak.sample();
        assert!(peak.rss_bytes > 100_000 && peak.threads >= 1 && mappings() > 5);
    }
}
