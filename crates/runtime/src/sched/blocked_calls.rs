//! Which calls have blocked workers, so that another thread had to continue them? On request, for reports.
//!
//! The monitor notes a call when it has taken the worker from the call's thread (`late.rs`) and has given it to another
//! one. The coroutine's place of spawn was copied while the coroutine could not end. The call itself is asked of the
//! kernel afterwards. If it has returned by then, nothing is noted, or the next call that blocks the thread. Equal
//! calls are one entry, with a count. The list is searched from its beginning; beyond [`ENTRIES_MAX`] kinds of calls,
//! further ones are counted in the last entry.
//!
//! Off by default: a note takes a descriptor for a moment (`sys::blocked_call`), and some twenty microseconds of the
//! monitor, which allocates meanwhile.

use crate::coroutine::Critical;
use crate::loom::static_atomic::{AtomicBool, Ordering};
use crate::sys::{StaticLock, blocked_call};
use libc::pid_t;
use std::fmt;
use std::panic::Location;

/// The most kinds of calls that are kept apart.
const ENTRIES_MAX: usize = 200;

static IS_ON: AtomicBool = AtomicBool::new(false);

static CALLS: StaticLock<Vec<BlockedCall>> = StaticLock::new(Vec::new());

/// A kind of call that has blocked a worker; see [`blocked_calls`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockedCall {
    /// The system call, as `read` or `futex`; one without a name here as "system call 9"; "a page fault"; or "other
    /// calls", if there were too many kinds.
    pub call: String,
    /// What the call was about, if it names a descriptor: a path, "a socket", "a pipe".
    pub object: Option<String>,
    /// Where the coroutine was spawned that made the call, if that is known.
    pub spawned_at: Option<&'static Location<'static>>,
    /// How many times a worker was taken from the call's thread. All counts together may be fewer than the
    /// [hand-offs](crate::RuntimeReport::hand_offs): a call that returns just then is not noted.
    pub count: u64,
}

impl fmt::Display for BlockedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:8}  {}", self.count, self.call)?;
        if let Some(object) = &self.object {
            write!(f, " of {object}")?;
        }
        match self.spawned_at {
            Some(location) => write!(f, ", on a coroutine spawned at {location}"),
            None => Ok(()),
        }
    }
}

/// Notes calls from now on.
pub(crate) fn note_blocked_calls() {
    // Relaxed: a flag of its own; a call that misses it is not noted.
    IS_ON.store(true, Ordering::Relaxed);
}

/// Returns which calls have blocked workers of this process, the most frequent kind first.
///
/// It is empty unless they are noted: [`RuntimeBuilder::report`](crate::RuntimeBuilder::report), or `SILKEN_REPORT=1`,
/// which holds for the default runtime too.
///
/// # Examples
/// ```
/// for call in silken::blocked_calls() {
///     println!("{call}");
/// }
/// ```
pub fn blocked_calls() -> Vec<BlockedCall> {
    let mut calls = {
        let _critical = Critical::enter();
        CALLS.lock().clone()
    };
    calls.sort_by_key(|call| std::cmp::Reverse(call.count));
    calls
}

/// Notes the call in which this thread is blocked, if notes are wanted. Its coroutine was spawned there.
#[inline]
pub(super) fn note(site: Option<&'static Location<'static>>, thread: pid_t) {
    // Relaxed: as in `note_blocked_calls`.
    if IS_ON.load(Ordering::Relaxed) {
        note_call(site, thread);
    }
}

#[cold]
fn note_call(site: Option<&'static Location<'static>>, thread: pid_t) {
    let Some(call) = blocked_call::of_thread(thread) else {
        return;
    };
    let entry = BlockedCall {
        call: call.name,
        object: call.object,
        spawned_at: site,
        count: 1,
    };
    add(&mut CALLS.lock(), entry);
}

fn add(calls: &mut Vec<BlockedCall>, new: BlockedCall) {
    let is_same = |known: &&mut BlockedCall| {
        (&known.call, &known.object, known.spawned_at) == (&new.call, &new.object, new.spawned_at)
    };
    if let Some(known) = calls.iter_mut().find(is_same) {
        known.count += new.count;
    } else if calls.len() < ENTRIES_MAX {
        calls.push(new);
    } else if let Some(last) = calls.last_mut() {
        *last = BlockedCall {
            call: "other calls".to_owned(),
            object: None,
            spawned_at: None,
            count: last.count + new.count,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_calls_are_one_entry_and_the_list_has_an_end() {
        let call = |name: String| BlockedCall {
            call: name,
            object: None,
            spawned_at: Some(Location::caller()),
            count: 1,
        };
        let mut calls = Vec::new();
        for number in 0..2 * ENTRIES_MAX {
            add(&mut calls, call(format!("call {number}")));
            add(&mut calls, call("read".to_owned()));
        }
        assert_eq!(calls.len(), ENTRIES_MAX);
        let count_of = |name: &str| calls.iter().find(|call| call.call == name).map(|call| call.count);
        assert_eq!(count_of("read"), Some(2 * ENTRIES_MAX as u64));
        assert_eq!(count_of("other calls"), Some(ENTRIES_MAX as u64 + 2));
        let total: u64 = calls.iter().map(|call| call.count).sum();
        assert_eq!(total, 4 * ENTRIES_MAX as u64);
    }

    #[test]
    fn an_entry_reads_as_a_sentence() {
        let call = BlockedCall {
            call: "flock".to_owned(),
            object: Some("/tmp/lock".to_owned()),
            spawned_at: None,
            count: 12,
        };
        assert_eq!(call.to_string(), "      12  flock of /tmp/lock");
    }
}
