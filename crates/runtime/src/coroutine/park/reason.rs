//! What does a parked coroutine wait for? Reports print it. Only the mark beside it that the wait stays decides
//! something (`sched/shutdown.rs`).

/// Why a coroutine is parked, as reports print it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u8)]
pub enum WaitReason {
    /// It is not parked: it runs or is ready to run.
    None,
    /// `park` or `park_timeout`.
    Park,
    /// `sleep`, or a hooked sleep.
    Sleep,
    /// The end of another coroutine.
    Join,
    /// The end of a scope's children.
    Scope,
    /// A futex word: a lock, a channel, a condition variable of std or of a crate.
    Futex,
    /// A descriptor that becomes readable.
    Read,
    /// A descriptor that becomes writable.
    Write,
    /// One of several descriptors.
    Poll,
    /// A call that an OS thread makes in the coroutine's place.
    Offload,
    /// A read or a write-back of a file, which io_uring makes.
    File,
    /// A lock that is held elsewhere: a mutex or one side of a read-write lock.
    Lock,
    /// A condition variable, a notification or a flag.
    Condition,
    /// Permits of a semaphore.
    Semaphore,
    /// The other coroutines or threads at a barrier, or the members of a wait group.
    Barrier,
    /// A value that another coroutine or thread is about to initialise.
    Once,
    /// Room in a channel, or a receiver.
    Send,
    /// A message of a channel.
    Receive,
    /// One of several operations.
    Select,
}

impl std::fmt::Display for WaitReason {
    /// Formats the reason as the end of a sentence: "it waits to read".
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            WaitReason::None => "it runs, or could",
            WaitReason::Park => "it is parked",
            WaitReason::Sleep => "it sleeps",
            WaitReason::Join => "it waits for another coroutine's end",
            WaitReason::Scope => "it waits for the children of its scope",
            WaitReason::Futex => "it waits for a lock, a channel or a condition of std or of a crate",
            WaitReason::Read => "it waits to read",
            WaitReason::Write => "it waits to write",
            WaitReason::Poll => "it waits for one of several descriptors",
            WaitReason::Offload => "it waits for a call that blocks an OS thread in its stead",
            WaitReason::File => "it waits for a disk",
            WaitReason::Lock => "it waits for a lock",
            WaitReason::Condition => "it waits for a condition",
            WaitReason::Semaphore => "it waits for permits",
            WaitReason::Barrier => "it waits for the others at a barrier",
            WaitReason::Once => "it waits for a value that another makes",
            WaitReason::Send => "it waits to send",
            WaitReason::Receive => "it waits to receive",
            WaitReason::Select => "it waits for one of several operations",
        })
    }
}

/// A mark beside a reason: the coroutine was asked to end, but this wait does not end for that. See `park_to_stay`.
pub(in crate::coroutine) const STAYS: u8 = 1 << 7;

impl WaitReason {
    const ALL: [WaitReason; 19] = [
        WaitReason::None,
        WaitReason::Park,
        WaitReason::Sleep,
        WaitReason::Join,
        WaitReason::Scope,
        WaitReason::Futex,
        WaitReason::Read,
        WaitReason::Write,
        WaitReason::Poll,
        WaitReason::Offload,
        WaitReason::File,
        WaitReason::Lock,
        WaitReason::Condition,
        WaitReason::Semaphore,
        WaitReason::Barrier,
        WaitReason::Once,
        WaitReason::Send,
        WaitReason::Receive,
        WaitReason::Select,
    ];

    pub(crate) fn from_u8(value: u8) -> Self {
        Self::ALL
            .get(usize::from(value & !STAYS))
            .copied()
            .unwrap_or(WaitReason::None)
    }
}
