//! What do the measurements ask of the machine? Pinning, limits, counters of the process, repeatable lengths of sleeps.
//!
//! CPU seconds of the echo server are read by the load generator, through the server's process CPU clock
//! (clock_getcpuclockid(3)): the same quantity as user plus system time of getrusage, in nanoseconds, and the two ends
//! of the window are the load generator's own, so that no message has to tell the server when the window begins.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::time::Instant;

/// Restricts the calling process (call it before it has threads) to one CPU.
pub fn pin_to_cpu(cpu: usize) {
    // SAFETY: S5: all zeroes is the empty set, a valid value of this plain structure.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: S5: `set` is ours alone and the macro bounds-checks the index by the array's type.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: S5: the kernel reads `set` during the call only.
    let status = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) };
    assert_eq!(status, 0, "pinning to CPU {cpu}: {}", io::Error::last_os_error());
}

/// Seconds after which a child is ended by its alarm: every loop in this program is bounded by it.
const CHILD_SECONDS_MAX: u32 = 120;

/// Ends the calling child by signal when its time is up, and with its parent.
pub fn bound_child() {
    // SAFETY: S6: sets the alarm only; its signal keeps the default action, so no handler runs.
    unsafe { libc::alarm(CHILD_SECONDS_MAX) };
    // SAFETY: S6: asks for SIGKILL at the parent's death; no memory is passed.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// Raises the limit of open files to what the system allows the process.
pub fn raise_file_limit() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: S5: the kernel writes `limit` during the call only.
    let status = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    assert_eq!(status, 0, "reading the file limit: {}", io::Error::last_os_error());
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: S5: the kernel reads `limit` during the call only.
    let status = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    assert_eq!(status, 0, "raising the file limit: {}", io::Error::last_os_error());
}

/// CPU time, user and system, that a process has used, in nanoseconds.
pub fn process_cpu_ns(process: i32) -> io::Result<u64> {
    let mut clock: libc::clockid_t = 0;
    // SAFETY: S5: libc writes `clock` during the call only.
    let status = unsafe { libc::clock_getcpuclockid(process, &mut clock) };
    if status != 0 {
        return Err(io::Error::from_raw_os_error(status));
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: S5: the kernel writes `time` during the call only.
    if unsafe { libc::clock_gettime(clock, &mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// CPU time of the whole machine and of our own children, to tell how much others computed meanwhile.
pub struct Bystanders {
    machine_ticks: u64,
    elapsed_ticks: u64,
    own_ticks: u64,
}

impl Bystanders {
    /// Reads the counters; the children counted are those that have been waited for.
    pub fn now() -> Bystanders {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
        // The first eight, to steal time; guest time behind them is counted in user time already (proc_stat(5)).
        let ticks: Vec<u64> = fields.take(8).filter_map(|field| field.parse().ok()).collect();
        let own = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // Behind the name, which may hold blanks: fields 14 to 17 are utime, stime, cutime and cstime.
        let own = own
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(11)
            .take(4);
        let elapsed_ticks: u64 = ticks.iter().sum();
        let idle_ticks: u64 = ticks.iter().skip(3).take(2).sum();
        Bystanders {
            machine_ticks: elapsed_ticks - idle_ticks,
            elapsed_ticks,
            own_ticks: own.filter_map(|field| field.parse::<u64>().ok()).sum(),
        }
    }

    /// Percent of the machine that others (or the hypervisor) used since then.
    pub fn percent_since(&self) -> f64 {
        let now = Bystanders::now();
        let elapsed = (now.elapsed_ticks - self.elapsed_ticks).max(1);
        let others = (now.machine_ticks - self.machine_ticks).saturating_sub(now.own_ticks - self.own_ticks);
        100.0 * others as f64 / elapsed as f64
    }
}

/// Memory of this process at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    resident_bytes: u64,
    page_table_bytes: u64,
    mappings: u64,
}

impl Memory {
    /// Reads the counters.
    pub fn now() -> Memory {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kilobytes = |key: &str| number_after(&status, key).unwrap_or(0) * 1024;
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        Memory {
            resident_bytes: kilobytes("VmRSS:"),
            page_table_bytes: kilobytes("VmPTE:"),
            mappings: maps.lines().count() as u64,
        }
    }

    /// The sample of the memory figure: growth since `before`, per coroutine.
    pub fn per_coroutine_since(self, before: Memory, coroutines: usize) -> crate::figure::Sample {
        let share = |after: u64, before: u64| after.saturating_sub(before) as f64 / coroutines as f64;
        vec![
            ("value".to_owned(), share(self.resident_bytes, before.resident_bytes)),
            (
                "page_table_bytes".to_owned(),
                share(self.page_table_bytes, before.page_table_bytes),
            ),
            ("mappings_total".to_owned(), self.mappings as f64),
        ]
    }
}

fn number_after(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Voluntary context switches of each thread of this process but the caller: how often a thread went to sleep.
pub fn voluntary_switches() -> HashMap<String, u64> {
    // SAFETY: S3: reads the caller's own thread number, passes no memory.
    let own = unsafe { libc::gettid() }.to_string();
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let counted = tasks.filter_map(|task| {
        let thread = task.file_name().into_string().ok().filter(|thread| *thread != own)?;
        let status = fs::read_to_string(task.path().join("status")).ok()?;
        Some((thread, number_after(&status, "voluntary_ctxt_switches:")?))
    });
    counted.collect()
}

/// Lets the caller, an ordinary thread, watch the others for two seconds after a moment to settle; how often they went
/// to sleep.
pub fn watch_idle() -> f64 {
    std::thread::sleep(std::time::Duration::from_millis(300));
    let before = voluntary_switches();
    std::thread::sleep(std::time::Duration::from_secs(2));
    let after = voluntary_switches();
    let growth = after
        .iter()
        .map(|(thread, count)| count - before.get(thread).copied().unwrap_or(0));
    growth.sum::<u64>() as f64
}

/// Runs `work` once for a tenth of `operations`, to warm up, then for all of them; nanoseconds per operation.
pub fn ns_per_operation(operations: usize, mut work: impl FnMut(usize)) -> f64 {
    work(operations / 10);
    let begin = Instant::now();
    work(operations);
    begin.elapsed().as_nanos() as f64 / operations as f64
}

/// Duration of the `index`-th sleep, in whole milliseconds from 1 to `ms_max`: the same for each contestant.
pub fn scattered_sleep(index: usize, ms_max: u64) -> std::time::Duration {
    std::time::Duration::from_millis(fastrand::Rng::with_seed(index as u64).u64(1..=ms_max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_clock_of_this_process_advances_with_work() {
        let process = std::process::id() as i32;
        let before = process_cpu_ns(process).expect("own clock");
        let sum = (0..20_000_000u64).fold(0, |sum, number| std::hint::black_box(sum ^ number));
        std::hint::black_box(sum);
        assert!(process_cpu_ns(process).expect("own clock") > before);
    }

    #[test]
    fn bystanders_take_between_nothing_and_the_whole_machine() {
        let before = Bystanders::now();
        assert!(before.elapsed_ticks >= before.machine_ticks && before.machine_ticks > 0);
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!((0.0..=100.0).contains(&before.percent_since()));
    }

    #[test]
    fn sleeps_are_spread_over_their_range() {
        let mut counts = [0; 50];
        (0..10_000).for_each(|index| counts[scattered_sleep(index, 50).as_millis() as usize - 1] += 1);
        assert!(counts.iter().all(|count| (100..400).contains(count)), "{counts:?}");
    }

    #[test]
    fn status_numbers_are_found_at_the_start_of_a_line() {
        assert_eq!(number_after("a: 1\nVmRSS:\t  77 kB\n", "VmRSS:"), Some(77));
        assert_eq!(
            number_after("nonvoluntary_ctxt_switches: 3\n", "voluntary_ctxt_switches:"),
            None
        );
    }
}
