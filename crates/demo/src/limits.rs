//! What this machine lets one process have, and how much of a case fits.
//!
//! Limits are read, never guessed, and all from `/proc` and the cgroup files. The soft RLIMIT_NOFILE is raised by the
//! shell that starts the child (`child.rs`); what the child finds here is what it got.
//!
//! *Mappings are the limit of threads that is met first.* A thread of std owns four: its stack, the guard of its
//! stack, an alternate signal stack and its guard. `vm.max_map_count` is 65,530 by default, so 16,368 threads is where
//! a plain process ends, by an abort inside std. The alternate stacks exist only if std found SIGSEGV and SIGBUS at
//! their defaults when it started; the child of a thread case is started with both ignored, and then 10,000
//! connections (20,000 threads, 40,000 mappings) fit. A real fault still kills: the kernel overrides "ignored" then.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

/// Descriptors beside the connections: standard streams, listener, drivers, the checking connection.
const DESCRIPTORS_SPARE: u64 = 32;
/// Threads beside the connections, and mappings of program and libraries.
const THREADS_SPARE: u64 = 64;
const MAPPINGS_SPARE: u64 = 2_000;
const MAPPINGS_PER_THREAD: u64 = 2;
/// A small stack, its guard, and what its owner allocates.
const THREAD_ADDRESS_BYTES: u64 = 128 * 1024;
/// What glibc's malloc reserves for threads: up to eight arenas a processor, 64 MiB each, and once more to align one.
const ARENA_ADDRESS_BYTES: u64 = 64 << 20;
const ARENAS_PER_PROCESSOR: u64 = 8;
/// Both ends: stacks, buffers and the kernel's part, rounded up.
const CONNECTION_BYTES: u64 = 128 * 1024;

/// The descriptors a case needs.
pub fn descriptors_for(connections: usize) -> u64 {
    2 * connections as u64 + DESCRIPTORS_SPARE
}

/// How many connections fit, both ends in this process, and what stops more.
pub fn connections_max(threads: bool) -> Bound {
    let descriptors = descriptors_max().saturating_sub(DESCRIPTORS_SPARE) / 2;
    let mut bounds = vec![
        Bound {
            count: descriptors,
            why: "the limit of open files (two per connection; ulimit -n)",
        },
        Bound {
            count: ports(),
            why: "net.ipv4.ip_local_port_range",
        },
        Bound {
            count: memory_available_bytes() / CONNECTION_BYTES,
            why: "available memory",
        },
    ];
    if threads {
        let Bound { count, why } = threads_max();
        bounds.push(Bound { count: count / 2, why });
    }
    tightest(bounds)
}

/// How many threads this process may start.
pub fn threads_max() -> Bound {
    let running = threads_running();
    let free = |limit: Option<u64>| limit.unwrap_or(u64::MAX).saturating_sub(running + THREADS_SPARE);
    let mappings = number_in("/proc/sys/vm/max_map_count")
        .unwrap_or(u64::MAX)
        .saturating_sub(MAPPINGS_SPARE);
    tightest(vec![
        Bound {
            count: free(number_in("/proc/sys/kernel/threads-max")),
            why: "kernel.threads-max",
        },
        Bound {
            count: free(number_in("/proc/sys/kernel/pid_max")),
            why: "kernel.pid_max",
        },
        Bound {
            count: free(processes_max()),
            why: "the limit of processes (ulimit -u)",
        },
        Bound {
            count: cgroup_left("pids", "pids.max", "pids.max", "pids.current", "pids.current"),
            why: "the cgroup's pids.max",
        },
        Bound {
            count: mappings / MAPPINGS_PER_THREAD,
            why: "vm.max_map_count",
        },
        Bound {
            count: address_space_left_bytes() / THREAD_ADDRESS_BYTES,
            why: "the limit of address space (ulimit -v)",
        },
    ])
}

/// Memory that can be taken without harm: half of what is free, of the machine or of the cgroup.
pub fn memory_available_bytes() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| field_kib(&text, "MemAvailable:"));
    let cgroup = cgroup_left(
        "memory",
        "memory.max",
        "memory.limit_in_bytes",
        "memory.current",
        "memory.usage_in_bytes",
    );
    machine.unwrap_or(u64::MAX).min(cgroup) / 2
}

/// Open files this process may have now.
pub fn descriptors_max() -> u64 {
    fs::read_to_string("/proc/self/limits")
        .ok()
        .and_then(|text| soft_limit(&text, "Max open files"))
        .unwrap_or(1024)
}

/// A number of things and what keeps it from being larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// How many fit.
    pub count: u64,
    /// The name of the limit.
    pub why: &'static str,
}

fn tightest(bounds: Vec<Bound>) -> Bound {
    bounds
        .into_iter()
        .min_by_key(|bound| bound.count)
        .expect("there is at least one bound")
}

fn ports() -> u64 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ends = range.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
    match (ends.next(), ends.next()) {
        (Some(first), Some(last)) => last.saturating_sub(first),
        _ => u64::MAX,
    }
}

/// Root is not held to RLIMIT_NPROC.
fn processes_max() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let user = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))?
        .split_whitespace()
        .nth(1)?;
    if user == "0" {
        return None;
    }
    soft_limit(&fs::read_to_string("/proc/self/limits").ok()?, "Max processes")
}

fn address_space_left_bytes() -> u64 {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    match soft_limit(&read("/proc/self/limits"), "Max address space") {
        Some(limit) => {
            let used = field_kib(&read("/proc/self/status"), "VmSize:").unwrap_or(0);
            let processors = thread::available_parallelism().map_or(1, |count| count.get() as u64);
            let arenas = processors * ARENAS_PER_PROCESSOR + 1;
            limit.saturating_sub(used + arenas * ARENA_ADDRESS_BYTES)
        }
        None => u64::MAX,
    }
}

/// Threads of the whole machine: the fourth field of proc_loadavg(5) is `runnable/all`.
fn threads_running() -> u64 {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace()
        .nth(3)
        .and_then(|pair| pair.split_once('/')?.1.parse().ok())
        .unwrap_or(0)
}

fn number_in(path: impl AsRef<Path>) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// `None` stands for "unlimited", too.
fn soft_limit(limits: &str, name: &str) -> Option<u64> {
    limits
        .lines()
        .find_map(|line| line.strip_prefix(name))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

/// A `name: number kB` line, in bytes.
fn field_kib(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(value.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// What is left in the tightest of our cgroups: names of the limit and of the use, in version 2 and in version 1.
fn cgroup_left(controller: &str, limit: &str, limit_v1: &str, used: &str, used_v1: &str) -> u64 {
    let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let folders = cgroup_folders(&membership, controller);
    let left = folders.iter().flat_map(|folder| {
        [(limit, used), (limit_v1, used_v1)].map(|(limit, used)| {
            let limit = number_in(folder.join(limit))?;
            Some(limit.saturating_sub(number_in(folder.join(used)).unwrap_or(0)))
        })
    });
    left.flatten().min().unwrap_or(u64::MAX)
}

/// The folders of the cgroup and of all that contain it. In a container the path in `/proc/self/cgroup` may be one of
/// the host's; then only the root of the mount exists, which is the container's own.
fn cgroup_folders(membership: &str, controller: &str) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for line in membership.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let mount = match controllers {
            "" => PathBuf::from("/sys/fs/cgroup"),
            _ if controllers.split(',').any(|name| name == controller) => Path::new("/sys/fs/cgroup").join(controllers),
            _ => continue,
        };
        let inside = Path::new(path.trim_start_matches('/'));
        folders.extend(inside.ancestors().map(|folder| mount.join(folder)));
    }
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_parse() {
        let limits = "Limit    Soft Limit  Hard Limit  Units\nMax open files      20000   30000   files\nMax processes   unlimited unlimited\n";
        assert_eq!(soft_limit(limits, "Max open files"), Some(20_000));
        assert_eq!(soft_limit(limits, "Max processes"), None);
        assert_eq!(soft_limit(limits, "Max nothing"), None);
        assert_eq!(
            field_kib("MemTotal: 9 kB\nMemAvailable:   5 kB\n", "MemAvailable:"),
            Some(5_120)
        );
    }

    #[test]
    fn cgroups_are_searched_up_to_the_mount() {
        let membership = "8:pids:/\n4:memory:/a/b\n0::/c\n";
        let names = |controller| -> Vec<String> {
            cgroup_folders(membership, controller)
                .iter()
                .map(|folder| folder.display().to_string())
                .collect()
        };
        let root = "/sys/fs/cgroup/";
        assert_eq!(
            names("memory"),
            ["memory/a/b", "memory/a", "memory/", "c", ""].map(|folder| format!("{root}{folder}"))
        );
        assert_eq!(
            names("pids"),
            ["pids/", "c", ""].map(|folder| format!("{root}{folder}"))
        );
    }

    #[test]
    fn the_tightest_bound_wins() {
        let (wide, tight) = (Bound { count: 9, why: "wide" }, Bound { count: 2, why: "tight" });
        assert_eq!(tightest(vec![wide, tight]), tight);
    }

    #[test]
    fn this_machine_has_room_for_something() {
        assert!(descriptors_max() > 0 && memory_available_bytes() > 0);
        assert!(threads_max().count > 0 && connections_max(false).count >= connections_max(true).count);
    }
}
