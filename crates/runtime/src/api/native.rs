//! Which threads stay threads of the system where a runtime adopts all others?

/// Runs `f`. Threads that it makes are threads of the system, although a runtime
/// [adopts](crate::Runtime::adopt_threads) threads.
///
/// The threads that such a thread makes are adopted again, unless it uses `native` too. Without an adopting runtime, or
/// without hooks, all threads are the system's, and this only calls `f`.
///
/// # Panics
/// If `f` does.
///
/// # Examples
/// ```
/// let thread = silken::native(|| std::thread::spawn(silken::is_coroutine));
/// assert!(!thread.join().unwrap());
/// ```
pub fn native<R>(f: impl FnOnce() -> R) -> R {
    crate::coroutine::c_thread::native(f)
}
