//! How deep do coroutines go? On request, the high-water mark of each stack, gathered by the place of the spawn.
//!
//! # Protocol
//! The measurement is switched on for the process, by a builder or by the environment, and is off by default. A worker
//! asks one flag where a coroutine takes a stack and where it gives the stack back; both are not on the way of a
//! coroutine that yields or parks. When it is on,
//! - a stack is trimmed before the coroutine's first frame, so that it holds no page of an earlier coroutine;
//! - an ended coroutine gives its stack back and does not hand it over to its successor, who would add to the mark;
//! - the stack's mark is read (`Stack::high_water_bytes` in `silken_context::stack`) and noted under the place of the
//!   spawn.
//!
//! A mark is in pages, and includes the thread-locals of an isolated coroutine, which lie at the top of its stack.
//! Growths (`segment.rs`) are counted beside it, since a coroutine that grew did not have the stack that it needed.
//!
//! The notes are a list, which is searched from its beginning: programs spawn at a few dozen places.

use super::core::Core;
use super::current::{Critical, current_core};
use super::pool::Pools;
use super::pool::stack::PooledStack;
use crate::loom::static_atomic::{AtomicBool, Ordering};
use crate::sys::StaticLock;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

static IS_ON: AtomicBool = AtomicBool::new(false);

static SITES: StaticLock<Vec<StackSite>> = StaticLock::new(Vec::new());

/// Measures the coroutines of the process that start from now on.
pub(crate) fn measure_stacks() {
    // Relaxed: a flag of its own. A coroutine that misses it is not measured, or by too large a mark.
    IS_ON.store(true, Ordering::Relaxed);
}

/// Whether stacks are measured.
#[inline(always)]
pub(crate) fn stacks_are_measured() -> bool {
    // Relaxed: as in `measure_stacks`.
    IS_ON.load(Ordering::Relaxed)
}

/// How deep the coroutines went that were spawned at one place, with stacks of one size.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StackSite {
    /// The place of the spawn, if it is known.
    pub location: Option<&'static Location<'static>>,
    /// The size of their stacks in bytes.
    pub stack_bytes: usize,
    /// How many have ended.
    pub ended: u64,
    /// The mark of the deepest one: the bytes between the top of its stack and the lowest page that it touched.
    pub deepest_bytes: usize,
    /// The name of the deepest one, if it had one.
    pub deepest_name: Option<Arc<str>>,
    /// The sum of all marks; divided by `ended` it gives the mean.
    pub sum_bytes: u64,
    /// How many times they continued on a [segment](crate::maybe_grow()).
    pub growths: u64,
    /// The most segments that one of them had at one time.
    pub segments_max: usize,
}

/// How deep the coroutines of this process went, by the place of their spawn; made by [`stack_report`].
///
/// It prints as a table, the deepest place first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StackReport {
    /// One entry for each place of a spawn and size of stack; the deepest mark first.
    pub sites: Vec<StackSite>,
}

/// Returns how deep the coroutines of this process went that have ended.
///
/// It is empty unless the measurement is on: [`RuntimeBuilder::stack_report`](crate::RuntimeBuilder::stack_report), or
/// `SILKEN_STACK_REPORT=1`. While it is on, each coroutine costs two system calls more.
///
/// A mark is counted in pages. It includes the thread-locals of an isolated coroutine, some 4.5 KB as a rule, which lie
/// at the top of its stack. Choose a size of stack with a reserve above the mark: other inputs go deeper, and so does a
/// panic with a backtrace.
///
/// # Examples
/// ```
/// let runtime = silken::Runtime::builder().workers(1).stack_report(true).build().unwrap();
/// runtime.block_on(|| silken::spawn(|| std::hint::black_box([7u8; 50_000]).len()).join().unwrap());
/// let report = silken::stack_report();
/// println!("{report}");
/// assert!(report.sites.iter().any(|site| site.ended == 1 && site.deepest_bytes > 50_000));
/// ```
pub fn stack_report() -> StackReport {
    let mut sites = {
        let _critical = Critical::enter();
        SITES.lock().clone()
    };
    sites.sort_by_key(|site| std::cmp::Reverse(site.deepest_bytes));
    StackReport { sites }
}

/// Returns how deep the running coroutine has gone on its own stack so far, in bytes and whole pages.
///
/// `None` on an OS thread, and unless the measurement is on: see [`stack_report`].
///
/// # Examples
/// ```
/// assert_eq!(silken::stack_high_water(), None);
/// let runtime = silken::Runtime::builder().workers(1).stack_report(true).build().unwrap();
/// let mark = runtime.block_on(|| silken::spawn(silken::stack_high_water).join().unwrap());
/// assert!(mark.unwrap() > 4096);
/// ```
pub fn stack_high_water() -> Option<usize> {
    let core = current_core().filter(|_| stacks_are_measured())?;
    // SAFETY: S1: the field belongs to the coroutine while it runs.
    let stack = unsafe { &*core.stack.get() };
    stack.as_ref()?.stack.high_water_bytes().ok()
}

/// Calls `note` with the entry of the place where the coroutine was spawned.
fn at_site(core: &Core, note: impl FnOnce(&mut StackSite)) {
    let (location, stack_bytes) = (core.site.get(), Pools::class_bytes(core.class.get()));
    let _critical = Critical::enter();
    let mut sites = SITES.lock();
    let known = sites
        .iter()
        .position(|site| site.location == location && site.stack_bytes == stack_bytes);
    let index = known.unwrap_or_else(|| {
        sites.push(StackSite {
            location,
            stack_bytes,
            ended: 0,
            deepest_bytes: 0,
            deepest_name: None,
            sum_bytes: 0,
            growths: 0,
            segments_max: 0,
        });
        sites.len() - 1
    });
    note(&mut sites[index]);
}

impl PooledStack {
    /// Forgets what earlier coroutines have touched. Called before the first frame of the next one.
    #[cold]
    pub(crate) fn forget_use(&self) {
        let kept = (self.stack.top() as usize).saturating_sub(self.frame_top as usize);
        // SAFETY: S1: nobody runs on it; what lies above the first frame is kept. After an error the mark is too large.
        let _ = unsafe { self.stack.trim(kept) };
    }

    /// Notes how deep the coroutine went that has left this stack.
    #[cold]
    pub(crate) fn note_use(&self, core: &Core) {
        let Ok(bytes) = self.stack.high_water_bytes() else {
            return;
        };
        at_site(core, |site| {
            site.ended += 1;
            site.sum_bytes += bytes as u64;
            if bytes > site.deepest_bytes {
                site.deepest_bytes = bytes;
                site.deepest_name = core.name().cloned();
            }
        });
    }
}

/// Notes that the running coroutine has this many segments now.
#[cold]
pub(super) fn note_growth(core: &Core, segments: usize) {
    at_site(core, |site| {
        site.growths += 1;
        site.segments_max = site.segments_max.max(segments);
    });
}

impl fmt::Display for StackReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const KIB: usize = 1024;
        writeln!(f, "deepest KiB  mean KiB  stack KiB     ended   growths  spawned at")?;
        for site in &self.sites {
            let mean_kib = site.sum_bytes / site.ended.max(1) / KIB as u64;
            let (deepest_kib, stack_kib) = (site.deepest_bytes / KIB, site.stack_bytes / KIB);
            write!(f, "{deepest_kib:11}  {mean_kib:8}  {stack_kib:9}  ")?;
            write!(f, "{:8}  {:8}  ", site.ended, site.growths)?;
            match site.location {
                Some(location) => write!(f, "{location}")?,
                None => write!(f, "?")?,
            }
            match &site.deepest_name {
                Some(name) => writeln!(f, " (deepest: '{name}')")?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_and_forgotten() {
        let pooled = PooledStack::of_own_arena();
        assert_eq!(pooled.stack.high_water_bytes().unwrap(), 0);
        for depth in [4096 * 7, 4096 * 50] {
            // SAFETY: S1: the stack is ours, and nobody runs on it.
            unsafe { pooled.stack.top().wrapping_sub(depth).write(1) };
            assert_eq!(pooled.stack.high_water_bytes().unwrap(), depth);
        }
        pooled.forget_use();
        assert_eq!(pooled.stack.high_water_bytes().unwrap(), 0);
    }

    #[test]
    fn a_report_prints_a_line_for_each_place() {
        let site = StackSite {
            location: Some(Location::caller()),
            stack_bytes: 512 << 10,
            ended: 2,
            deepest_bytes: 40 << 10,
            deepest_name: Some("parser".into()),
            sum_bytes: 60 << 10,
            growths: 3,
            segments_max: 1,
        };
        let text = StackReport { sites: vec![site] }.to_string();
        let line = text.lines().nth(1).expect("one place");
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[..5], ["40", "30", "512", "2", "3"]);
        assert!(
            words[5].contains("stack_report.rs") && line.ends_with("(deepest: 'parser')"),
            "{line}"
        );
    }
}
