//! Light runtimes, which are to be had by an unsafe call only.

/// Makes the runtime light.
#[allow(unsafe_code)]
pub(crate) fn of(builder: silken::RuntimeBuilder) -> silken::RuntimeBuilder {
    // SAFETY: S12: kinds of waits that keep an identity in a thread-local are marked `isolated_only` and left out of a
    // light run; the others wait in silken's types, std's locks, sleeps and sockets.
    unsafe { builder.light() }
}
