//! What is looked at from outside: the process's memory and descriptors, and whether the rounds go on.
//!
//! Memory is compared between quarters of the run, since the pools fill up in the first rounds and never shrink below
//! what a round needs at once: the last quarter may not need more than the second, but for an allowance of what malloc
//! keeps. Descriptors must be as many after each round.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How long a round may take.
const ROUND_LIMIT: Duration = Duration::from_secs(30);

/// Memory may grow by one part in so many, and by `RSS_ALLOWANCE_KB`.
const RSS_ALLOWANCE_PART: usize = 50;
const RSS_ALLOWANCE_KB: usize = 8 * 1024;
const MAPS_ALLOWANCE: usize = 32;

/// Fewer rounds have no quarters to compare.
const ROUNDS_MIN: usize = 8;

/// What the process has at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Resident memory.
    pub rss_kb: usize,
    /// Memory maps.
    pub maps: usize,
    /// Open descriptors.
    pub descriptors: usize,
}

impl Usage {
    /// Asks the kernel.
    pub fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let rss_kb = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let rss_kb = rss_kb.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok());
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let descriptors = fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count());
        Self {
            rss_kb: rss_kb.unwrap_or(0),
            maps: maps.lines().count(),
            descriptors,
        }
    }
}

/// Whether the rounds' usage is flat. The text says what was compared.
///
/// # Errors
/// What has grown.
pub fn check_flat(rounds: &[Usage]) -> Result<String, String> {
    if rounds.len() < ROUNDS_MIN {
        return Ok(format!("{} rounds are too few to compare memory", rounds.len()));
    }
    let quarter = rounds.len() / 4;
    let most = |rounds: &[Usage]| {
        let rss_kb = rounds.iter().map(|usage| usage.rss_kb).max().unwrap_or(0);
        let maps = rounds.iter().map(|usage| usage.maps).max().unwrap_or(0);
        (rss_kb, maps)
    };
    let (early_kb, early_maps) = most(&rounds[quarter..2 * quarter]);
    let (late_kb, late_maps) = most(&rounds[rounds.len() - quarter..]);
    let figures = format!("RSS {early_kb} KB then {late_kb} KB, maps {early_maps} then {late_maps}");
    if late_kb > early_kb + early_kb / RSS_ALLOWANCE_PART + RSS_ALLOWANCE_KB || late_maps > early_maps + MAPS_ALLOWANCE
    {
        return Err(format!("memory grows: {figures}"));
    }
    let descriptors = rounds[quarter].descriptors;
    if let Some(other) = rounds[quarter..].iter().find(|usage| usage.descriptors != descriptors) {
        return Err(format!("descriptors: {descriptors}, then {}", other.descriptors));
    }
    Ok(format!("{figures}, {descriptors} descriptors"))
}

/// Where the run is, and who is alive.
#[derive(Debug)]
pub struct Board {
    phase: Mutex<(String, Instant)>,
    /// Coroutines of each kind that have not ended.
    pub alive: Vec<Arc<AtomicUsize>>,
    /// What they have made themselves and do not join.
    pub children: Arc<AtomicUsize>,
    done: AtomicBool,
}

impl Board {
    /// Nobody is alive.
    pub fn new(kinds: usize) -> Self {
        Self {
            phase: Mutex::new(("start".to_string(), Instant::now())),
            alive: (0..kinds).map(|_| Arc::default()).collect(),
            children: Arc::default(),
            done: AtomicBool::new(false),
        }
    }

    /// How many are alive.
    pub fn alive(&self) -> usize {
        self.alive.iter().map(|alive| alive.load(Ordering::Relaxed)).sum()
    }

    /// A round begins.
    pub fn begin_round(&self, name: &str) {
        *self.phase.lock().unwrap() = (name.to_string(), Instant::now());
    }

    /// The round goes on to something else.
    pub fn note(&self, what: &str) {
        let mut phase = self.phase.lock().unwrap();
        let end = phase.0.find(" / ").unwrap_or(phase.0.len());
        phase.0.truncate(end);
        phase.0.push_str(" / ");
        phase.0.push_str(what);
    }

    /// Ends the watchdog.
    pub fn finish(&self) {
        self.done.store(true, Ordering::Relaxed);
    }

    fn report(&self, phase: &str, names: &[&str]) {
        eprintln!("watchdog: no end after {} s: {phase}", ROUND_LIMIT.as_secs());
        for (name, alive) in names.iter().zip(&self.alive) {
            let alive = alive.load(Ordering::Relaxed);
            if alive > 0 {
                eprintln!("watchdog: {alive} of {name} have not ended");
            }
        }
        eprintln!(
            "watchdog: {} of their children have not ended",
            self.children.load(Ordering::Relaxed)
        );
    }
}

/// Ends the process when a round takes too long, and says where it was.
pub fn start_watchdog(board: Arc<Board>, names: Vec<&'static str>, seed: u64) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        while !board.done.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(100));
            let (phase, since) = board.phase.lock().unwrap().clone();
            if since.elapsed() > ROUND_LIMIT {
                board.report(&phase, &names);
                eprintln!("FAILED, seed {seed}");
                std::process::abort();
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_noticed_and_warming_up_is_not() {
        let usage = |rss_kb, descriptors| Usage {
            rss_kb,
            maps: 40,
            descriptors,
        };
        let flat: Vec<_> = (0..16)
            .map(|round| usage(if round < 2 { 1000 } else { 500_000 }, 9))
            .collect();
        assert!(check_flat(&flat).is_ok());
        let leaks: Vec<_> = (0..16).map(|round| usage(500_000 + round * 20_000, 9)).collect();
        assert!(check_flat(&leaks).is_err());
        let opens: Vec<_> = (0..16).map(|round| usage(500_000, 9 + round)).collect();
        assert!(check_flat(&opens).is_err());
    }

    #[test]
    fn the_kernel_answers() {
        let usage = Usage::now();
        assert!(usage.rss_kb > 0 && usage.maps > 0 && usage.descriptors > 0, "{usage:?}");
    }
}
