//! What does a closure of `mask` or `until` put in force for the waits inside it? `cancel.rs` says how it is used.

/// What is in force inside a closure of `mask` or `until`; see the head of `cancel.rs`.
#[derive(Debug)]
pub(in crate::coroutine) struct CancelScope {
    pub(in crate::coroutine) deadline_ns: u64,
    pub(in crate::coroutine) owner: usize,
    pub(in crate::coroutine) masked: bool,
}

/// No deadline.
pub(in crate::coroutine) const NEVER: u64 = u64::MAX;

/// The owner of a cancellation, and of a deadline that no `until` on this stack has set.
pub(in crate::coroutine) const ITSELF: usize = 0;

/// The cancel scope in which a coroutine ends; see the head of `cancel.rs`.
pub(in crate::coroutine) static END: CancelScope = CancelScope {
    deadline_ns: NEVER,
    owner: ITSELF,
    masked: true,
};

impl CancelScope {
    pub(in crate::coroutine) fn has_deadline(&self) -> bool {
        self.deadline_ns != NEVER
    }
}
