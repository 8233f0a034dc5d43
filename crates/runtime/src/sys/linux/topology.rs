//! How many workers this process may usefully run: the least of what three sources allow, and at least one.
//!
//! - The affinity mask: the CPUs that this thread may run on (`sched_getaffinity(2)`).
//! - cgroup v2: `cpu.max` of this process's group and of every group above it ("quota period", or "max").
//! - cgroup v1: `cpu.cfs_quota_us` over `cpu.cfs_period_us`, of the same groups (-1 means none).
//!
//! A quota is CPU time per period, so it is rounded *up*: with a quota of 1.5 CPUs, two workers can use what one worker
//! cannot. More workers than that would all be throttled in mid-period, with locks held, which costs more than it
//! gives.
//!
//! The place of the groups in the file system is read, not assumed. `/proc/self/cgroup` gives this process's path in
//! each hierarchy. `/proc/self/mountinfo` tells where the hierarchy is mounted and which of its groups the mount shows
//! as its root (a container often sees only its own subtree). A missing or unreadable file does not limit. All files
//! come through one closure, so the tests provide their own.
//!
//! The monitor asks once a second, so the files stay open in between: `held.rs` says why.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::held::{self, HeldFile};
use super::raw::{self, Errno};

/// The files that tell how much this process may run.
#[derive(Debug)]
pub(crate) struct CpuLimits {
    files: Vec<LimitFile>,
}

#[derive(Debug)]
struct LimitFile {
    path: PathBuf,
    file: HeldFile,
    /// Whether the present question has read it. A process that has moved to another group has other files.
    is_used: bool,
}

impl CpuLimits {
    pub(crate) const fn new() -> Self {
        Self { files: Vec::new() }
    }

    /// The number of workers to run if the program does not set it.
    pub(crate) fn available_workers(&mut self) -> usize {
        self.files.iter_mut().for_each(|file| file.is_used = false);
        let quota = quota_cpus(&mut |path| self.read(path));
        self.files.retain(|file| file.is_used);
        let affinity = affinity_cpus().unwrap_or(1);
        quota.map_or(affinity, |quota| affinity.min(quota)).max(1)
    }

    /// Closes the files. The next question opens them again.
    pub(crate) fn close(&mut self) {
        self.files = Vec::new();
    }

    fn read(&mut self, path: &Path) -> Option<String> {
        if let Some(known) = self.files.iter_mut().find(|file| file.path == path) {
            if let Ok(text) = known.file.read_all() {
                known.is_used = true;
                return String::from_utf8(text).ok();
            }
            // The group was removed; another one may have its name now.
            self.files.retain(|file| file.path != path);
        }
        let name = CString::new(path.as_os_str().as_bytes()).ok()?;
        let file = held::exists(&name).then(|| HeldFile::open(&name).ok())??;
        let text = String::from_utf8(file.read_all().ok()?).ok();
        self.files.push(LimitFile {
            path: path.to_owned(),
            file,
            is_used: true,
        });
        text
    }
}

/// The CPUs that this machine may have, whether the process may use them now or not.
pub(crate) fn possible_cpus() -> usize {
    // SAFETY: S7: reads a file of the system, or a constant.
    let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_CONF) };
    usize::try_from(count).unwrap_or(1)
}

/// Longer masks (more than 524,288 CPUs) do not occur.
const MASK_WORDS_MAX: usize = 8192;

fn affinity_cpus() -> Result<usize, Errno> {
    let mut mask = vec![0u64; 16];
    loop {
        // SAFETY: S5: the mask is live and as long as said; 0 is the calling thread.
        let written_bytes = unsafe {
            raw::syscall3(
                libc::SYS_sched_getaffinity,
                0,
                mask.len() * 8,
                mask.as_mut_ptr() as usize,
            )
        };
        match written_bytes {
            // The kernel's mask is longer than this one.
            Err(Errno::INVAL) if mask.len() < MASK_WORDS_MAX => mask.resize(mask.len() * 2, 0),
            Err(errno) => return Err(errno),
            Ok(_) => return Ok(mask.iter().map(|word| word.count_ones() as usize).sum()),
        }
    }
}

/// The two kinds of hierarchy that can limit CPU time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hierarchy {
    V1,
    V2,
}

/// The smallest quota of all groups that this process is in, in whole CPUs.
fn quota_cpus(read: &mut dyn FnMut(&Path) -> Option<String>) -> Option<usize> {
    let groups = read(Path::new("/proc/self/cgroup"))?;
    let mounts = read(Path::new("/proc/self/mountinfo"))?;
    let mut smallest: Option<usize> = None;
    for hierarchy in [Hierarchy::V2, Hierarchy::V1] {
        let Some(group) = group_path(&groups, hierarchy) else {
            continue;
        };
        let Some((root, mount)) = mount_of(&mounts, hierarchy) else {
            continue;
        };
        for folder in folders_upwards(&mount, &root, group) {
            let quota = group_quota(&folder, hierarchy, read);
            smallest = [smallest, quota].into_iter().flatten().min();
        }
    }
    smallest
}

fn group_quota(folder: &Path, hierarchy: Hierarchy, read: &mut dyn FnMut(&Path) -> Option<String>) -> Option<usize> {
    match hierarchy {
        Hierarchy::V2 => parse_cpu_max(&read(&folder.join("cpu.max"))?),
        Hierarchy::V1 => parse_quota(
            &read(&folder.join("cpu.cfs_quota_us"))?,
            &read(&folder.join("cpu.cfs_period_us"))?,
        ),
    }
}

/// Parses `cpu.max`: "max 100000" or "150000 100000".
fn parse_cpu_max(text: &str) -> Option<usize> {
    let (quota, period) = text.trim().split_once(' ')?;
    parse_quota(quota, period)
}

/// Parses a quota; there is no limit where the quota is not a positive number: "max" in v2, -1 in v1.
fn parse_quota(quota_us: &str, period_us: &str) -> Option<usize> {
    let quota_us: u64 = quota_us.trim().parse().ok().filter(|&us| us > 0)?;
    let period_us: u64 = period_us.trim().parse().ok().filter(|&us| us > 0)?;
    usize::try_from(quota_us.div_ceil(period_us)).ok()
}

/// This process's path in the hierarchy, from lines "number:controllers:path" (`cgroups(7)`); v2 is "0::path".
fn group_path(groups: &str, hierarchy: Hierarchy) -> Option<&str> {
    groups.lines().find_map(|line| {
        let (number, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let found = match hierarchy {
            Hierarchy::V1 => controllers.split(',').any(|name| name == "cpu"),
            Hierarchy::V2 => number == "0" && controllers.is_empty(),
        };
        found.then_some(path)
    })
}

/// The group that the mount shows as its root, and the mount point, from the lines of `mountinfo`
/// (`proc_pid_mountinfo(5)`): "36 35 98:0 /root /mount options optional… - type source super-options".
fn mount_of(mounts: &str, hierarchy: Hierarchy) -> Option<(String, PathBuf)> {
    mounts.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut file_system = file_system.split(' ');
        let kind = file_system.next()?;
        let options = file_system.nth(1).unwrap_or("");
        let found = match hierarchy {
            Hierarchy::V1 => kind == "cgroup" && options.split(',').any(|option| option == "cpu"),
            Hierarchy::V2 => kind == "cgroup2",
        };
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = (mount.next()?, mount.next()?);
        found.then(|| (unescape(root), PathBuf::from(unescape(point))))
    })
}

/// `mountinfo` writes space, tab, newline and backslash as a backslash and three octal digits.
fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(field.to_owned(), |text, (escape, plain)| text.replace(escape, plain))
}

/// The folders of the group and of all groups above it that the mount shows, innermost first.
///
/// A group outside of the mount's root (a path with "..", or another subtree) cannot be found below the mount. The root
/// still limits every process that sees it, so only the root is asked.
fn folders_upwards(mount: &Path, root: &str, group: &str) -> Vec<PathBuf> {
    let below = Path::new(group).strip_prefix(root).unwrap_or(Path::new(""));
    let inside = !below.components().any(|part| part == std::path::Component::ParentDir);
    let below = if inside { below } else { Path::new("") };
    below.ancestors().map(|part| mount.join(part)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPS_V2: &str = "0::/user.slice/app.scope\n";
    const MOUNTS_V2: &str = "\
24 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
31 24 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate
";
    const GROUPS_V1: &str = "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc/inner\n0::/\n";
    const MOUNTS_V1: &str = "\
40 24 0:30 /docker/abc /sys/fs/cgroup/cpuset ro - cgroup cgroup rw,cpuset
41 24 0:31 /docker/abc /sys/fs/cgroup/cpu\\040acct ro master:3 - cgroup cgroup rw,cpu,cpuacct
";

    fn quota(files: &[(&str, &str)]) -> Option<usize> {
        quota_cpus(&mut |path| {
            let file = files.iter().find(|(name, _)| Path::new(name) == path);
            file.map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn the_smallest_quota_on_the_way_up_wins_in_v2() {
        let files = |leaf, middle| {
            quota(&[
                ("/proc/self/cgroup", GROUPS_V2),
                ("/proc/self/mountinfo", MOUNTS_V2),
                ("/sys/fs/cgroup/user.slice/app.scope/cpu.max", leaf),
                ("/sys/fs/cgroup/user.slice/cpu.max", middle),
            ])
        };
        assert_eq!(files("400000 100000\n", "150000 100000\n"), Some(2));
        assert_eq!(files("100000 100000\n", "max 100000\n"), Some(1));
        assert_eq!(files("max 100000\n", "max 100000\n"), None);
    }

    #[test]
    fn v1_quotas_are_found_below_the_mounts_root() {
        let files = [
            ("/proc/self/cgroup", GROUPS_V1),
            ("/proc/self/mountinfo", MOUNTS_V1),
            ("/sys/fs/cgroup/cpu acct/inner/cpu.cfs_quota_us", "-1\n"),
            ("/sys/fs/cgroup/cpu acct/inner/cpu.cfs_period_us", "100000\n"),
            ("/sys/fs/cgroup/cpu acct/cpu.cfs_quota_us", "250000\n"),
            ("/sys/fs/cgroup/cpu acct/cpu.cfs_period_us", "100000\n"),
        ];
        assert_eq!(quota(&files), Some(3));
    }

    #[test]
    fn a_group_outside_the_mount_falls_back_to_the_mounts_root() {
        let mount = Path::new("/cg");
        assert_eq!(folders_upwards(mount, "/", "/a/b").len(), 3);
        assert_eq!(folders_upwards(mount, "/a", "/a/b"), [mount.join("b"), mount.join("")]);
        assert_eq!(folders_upwards(mount, "/other", "/a/b"), [mount.join("")]);
        assert_eq!(folders_upwards(mount, "/", "/../../x"), [mount.join("")]);
    }

    #[test]
    fn quotas_round_up_and_nonsense_does_not_limit() {
        assert_eq!(parse_cpu_max("50000 100000"), Some(1));
        assert_eq!(parse_cpu_max("100001 100000\n"), Some(2));
        assert_eq!(parse_cpu_max("max 100000\n"), None);
        assert_eq!(parse_cpu_max(""), None);
        assert_eq!(parse_cpu_max("1 0"), None);
        assert_eq!(parse_cpu_max("0 100000"), None);
        assert_eq!(parse_quota("-1\n", "100000\n"), None);
        assert_eq!(parse_quota("200000", "x"), None);
    }

    #[test]
    fn nothing_readable_means_no_limit() {
        assert_eq!(quota(&[]), None);
        assert_eq!(
            quota(&[("/proc/self/cgroup", GROUPS_V2), ("/proc/self/mountinfo", "")]),
            None
        );
        assert_eq!(group_path("garbage\n\n1:cpuset:/\n", Hierarchy::V1), None);
    }

    #[test]
    fn this_machine_allows_at_least_one_and_no_more_than_its_mask() {
        let workers = CpuLimits::new().available_workers();
        assert!(workers >= 1);
        assert!(workers <= affinity_cpus().unwrap());
    }

    #[test]
    fn files_are_opened_once_and_closed_when_they_are_no_longer_of_use() {
        let mut limits = CpuLimits::new();
        limits.available_workers();
        let numbers = |limits: &CpuLimits| -> Vec<_> { limits.files.iter().map(|file| format!("{file:?}")).collect() };
        let first = numbers(&limits);
        assert!(first[0].contains("/proc/self/cgroup"), "{first:?}");
        let name = CString::new("/proc/self/maps").unwrap();
        limits.files.push(LimitFile {
            path: PathBuf::from("/proc/self/maps"),
            file: HeldFile::open(&name).unwrap(),
            is_used: true,
        });
        limits.available_workers();
        assert_eq!(numbers(&limits), first);
        limits.close();
        assert!(limits.files.is_empty());
    }

    #[test]
    fn a_narrower_mask_is_seen() {
        std::thread::spawn(|| {
            // SAFETY: S5: all zeros is an empty set.
            let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
            // SAFETY: S5: asks only; the answer is the number of this thread's CPU.
            let here = unsafe { libc::sched_getcpu() } as usize;
            // SAFETY: S5: the kernel's own answer lies within the set.
            unsafe { libc::CPU_SET(here, &mut set) };
            // SAFETY: S5: a live local; changes this short-lived thread only.
            let set = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) };
            assert_eq!(set, 0);
            assert_eq!(affinity_cpus(), Ok(1));
            assert_eq!(CpuLimits::new().available_workers(), 1);
        })
        .join()
        .unwrap();
    }
}
