//! What does a case cost, and what may it take? Both are read from `/proc`, so this crate holds no `unsafe`.
//!
//! The clock of `/proc/self/stat` ticks at 100 Hz (`USER_HZ`, fixed in the kernel's ABI on x86_64 and aarch64); a case
//! burns several seconds on each core, so the error is below one percent.

use std::fs;
use std::path::Path;

const TICK_NS: u64 = 10_000_000;

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
        let status = read("/proc/self/status");
        self.rss_bytes = self.rss_bytes.max(field(&status, "VmRSS:") * 1024);
        self.threads = self.threads.max(field(&status, "Threads:"));
    }
}

/// Page tables of the process.
pub fn page_table_bytes() -> u64 {
    field(&read("/proc/self/status"), "VmPTE:") * 1024
}

/// Processor time of the whole process since it started, user and system.
pub fn cpu_ns() -> u64 {
    cpu_ticks(&read("/proc/self/stat")).unwrap_or(0) * TICK_NS
}

/// Number of memory mappings of the process.
pub fn mappings() -> u64 {
    read("/proc/self/maps").lines().count() as u64
}

/// Open files that this process may have.
pub fn descriptors_max() -> u64 {
    let limits = read("/proc/self/limits");
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    soft.and_then(|soft| soft.split_whitespace().next()?.parse().ok())
        .unwrap_or(u64::MAX)
}

/// Memory that can be taken without harm: half of what is free, of the machine or of the tightest cgroup around us.
pub fn memory_available_bytes() -> u64 {
    let machine = field(&read("/proc/meminfo"), "MemAvailable:") * 1024;
    let cgroups = cgroups(&read("/proc/self/cgroup")).into_iter();
    let free = cgroups.filter_map(|[limit, used]| Some(number_in(&limit)?.saturating_sub(number_in(&used)?)));
    free.fold(machine, u64::min) / 2
}

/// The files with the limit and the use of each cgroup that contains us, in version 2 and in version 1. In a container
/// the path may be one of the host's; then only the root of the mount exists, which is the container's own.
fn cgroups(membership: &str) -> Vec<[String; 2]> {
    let mut files = Vec::new();
    for line in membership.lines() {
        let (mount, path, names) = match line.splitn(3, ':').skip(1).collect::<Vec<_>>()[..] {
            ["", path] => ("", path, ["memory.max", "memory.current"]),
            ["memory", path] => ("memory/", path, ["memory.limit_in_bytes", "memory.usage_in_bytes"]),
            _ => continue,
        };
        for folder in Path::new(path.trim_start_matches('/')).ancestors() {
            files.push(names.map(|name| format!("/sys/fs/cgroup/{mount}{}", folder.join(name).display())));
        }
    }
    files
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn number_in(path: &str) -> Option<u64> {
    read(path).trim().parse().ok()
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
        assert!(descriptors_max() > 0 && memory_available_bytes() > 0);
    }

    #[test]
    fn cgroups_are_searched_up_to_the_mount() {
        let limits: Vec<String> = cgroups("8:pids:/\n4:memory:/a/b\n0::/c\n")
            .into_iter()
            .map(|[limit, _]| limit)
            .collect();
        let expected = [
            "memory/a/b/memory.limit_in_bytes",
            "memory/a/memory.limit_in_bytes",
            "memory/memory.limit_in_bytes",
            "c/memory.max",
            "memory.max",
        ];
        assert_eq!(limits, expected.map(|file| format!("/sys/fs/cgroup/{file}")));
    }
}
