//! How are coroutines made? This file holds [`spawn`], [`spawn_many`], [`Builder`], [`go!`](crate::go) and
//! [`task!`](crate::task).

use crate::api::handle::JoinHandle;
use crate::runtime::default::current_or_default;
use crate::sched::{self, Scheduler, SpawnRequest};
use std::io;
use std::panic::Location;

/// Spawns a coroutine that runs `body`, and returns a handle for its result: the counterpart of [`std::thread::spawn`].
/// A dropped handle detaches the coroutine.
///
/// On a coroutine the new one belongs to the caller's runtime. On an OS thread it belongs to the runtime of the running
/// `#[silken::main]`, otherwise to the default runtime, which the first such call starts. Does not wait for `body` to
/// begin, and is no blocking point.
///
/// # Panics
/// If the coroutine cannot be made: see [`Builder::spawn`], which returns the error instead.
///
/// # Examples
/// ```
/// let handle = silken::spawn(|| "done");
/// assert_eq!(handle.join().unwrap(), "done");
/// ```
#[track_caller]
pub fn spawn<T, F>(body: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let request = SpawnRequest::at(Location::caller());
    expect_spawned(current_or_default().and_then(|scheduler| spawn_on(scheduler, request, body)))
}

#[track_caller]
pub(crate) fn expect_spawned<T>(spawned: io::Result<JoinHandle<T>>) -> JoinHandle<T> {
    match spawned {
        Ok(handle) => handle,
        Err(error) => panic!("failed to spawn a coroutine: {error}"),
    }
}

pub(crate) fn spawn_on<T, F>(scheduler: &'static Scheduler, request: SpawnRequest, body: F) -> io::Result<JoinHandle<T>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    // SAFETY: S1: nothing is borrowed for less than 'static. S2: both are Send.
    let core = unsafe { sched::spawn(scheduler, request, body) }?;
    // SAFETY: S1: the body's result type is T, and this is its one handle.
    Ok(unsafe { JoinHandle::new(core) })
}

/// Number of coroutines that [`spawn_many`] makes in one critical section: enough for the cost of one wake-up to
/// vanish, few enough for the critical section to take at most some tens of microseconds.
const BATCH: usize = 256;

/// Spawns `count` coroutines that run `body(0)`, `body(1)`, … It queues them in batches, with one wake-up for each
/// batch. This is cheaper than as many calls of [`spawn`], above all from an OS thread. The handles are in the order of
/// the indices. A `count` of 0 gives no handles.
///
/// # Panics
/// If a coroutine cannot be made. The coroutines that were made before go on, detached.
///
/// # Examples
/// ```
/// let squares = silken::spawn_many(1000, |i| i * i);
/// let sum: usize = squares.into_iter().map(|handle| handle.join().unwrap()).sum();
/// assert_eq!(sum, 332_833_500);
/// ```
#[track_caller]
pub fn spawn_many<T, F>(count: usize, body: F) -> Vec<JoinHandle<T>>
where
    F: Fn(usize) -> T + Clone + Send + 'static,
    T: Send + 'static,
{
    let site = Location::caller();
    let mut handles = Vec::with_capacity(count);
    let spawned = current_or_default().and_then(|scheduler| {
        let mut cores = Vec::new();
        for first in (0..count).step_by(BATCH) {
            let bodies = first..count.min(first + BATCH);
            let mut bodies: Vec<_> = bodies
                .map(|index| {
                    let body = body.clone();
                    move || body(index)
                })
                .collect();
            // SAFETY: S1: nothing is borrowed for less than 'static. S2: both are Send.
            let outcome = unsafe { sched::spawn_batch(scheduler, site, &mut bodies, &mut cores) };
            // SAFETY: S1: each body's result type is T, and this is its one handle.
            handles.extend(cores.drain(..).map(|core| unsafe { JoinHandle::new(core) }));
            outcome?;
        }
        Ok(())
    });
    match spawned {
        Ok(()) => handles,
        Err(error) => panic!(
            "failed to spawn {count} coroutines, {} were made: {error}",
            handles.len()
        ),
    }
}

impl SpawnRequest {
    pub(crate) fn at(site: &'static Location<'static>) -> Self {
        Self {
            site: Some(site),
            ..Self::default()
        }
    }
}

/// The settings with which a coroutine is made: the counterpart of [`std::thread::Builder`]. Finished by
/// [`spawn`](Self::spawn) or [`spawn_scoped`](Self::spawn_scoped).
///
/// # Examples
/// ```
/// let handle = silken::Builder::new()
///     .name("worker".to_string())
///     .stack_size(64 * 1024)
///     .spawn(|| silken::current().name().map(String::from))
///     .unwrap();
/// assert_eq!(handle.join().unwrap().as_deref(), Some("worker"));
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "must eventually spawn a coroutine"]
pub struct Builder {
    name: Option<String>,
    stack_bytes: Option<usize>,
    light: bool,
    priority: i64,
    worker: Option<usize>,
}

impl Builder {
    /// Makes a builder with the settings that [`spawn`] uses.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the name that reports show. In an isolated coroutine `std::thread::current().name()` returns it too, and
    /// std's spawn hooks run for it. For that std makes a `Thread`, which costs the spawn about a microsecond. Without
    /// the feature `interpose` neither happens.
    pub fn name(mut self, name: String) -> Self {
        self.name = Some(name);
        self
    }

    /// Sets the address space of the stack, in bytes. It is rounded up to a power of two between 16 KiB and 1 GiB.
    /// Memory is used only where the stack is touched. If the program's thread-locals would take more than half of it,
    /// the stack is larger.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_bytes = Some(bytes);
        self
    }

    /// Makes the coroutine light: it shares its worker's thread-locals, stays on that worker once it has started, and
    /// costs a page less.
    ///
    /// # Safety
    /// The contract of [`RuntimeBuilder::light`](crate::RuntimeBuilder::light), for every coroutine that this builder
    /// or a clone of it spawns: its code neither relies on being alone on its thread while it waits, nor on
    /// thread-locals being its own over a wait. The coroutines that it spawns in turn are of its runtime's kind.
    ///
    /// # Examples
    /// ```
    /// // SAFETY: the closure waits in silken's own sleep, and uses no thread-local.
    /// let builder = unsafe { silken::Builder::new().light() };
    /// let handle = builder.spawn(|| silken::sleep_ms(1)).unwrap();
    /// handle.join().unwrap();
    /// ```
    ///
    /// It is not a safe call:
    /// ```compile_fail,E0133
    /// let builder = silken::Builder::new().light();
    /// ```
    pub unsafe fn light(mut self) -> Self {
        sched::prepare_for_light();
        self.light = true;
        self
    }

    /// Sets the priority: a smaller number is more urgent; the default is 0. A number beyond the range of an `i16`
    /// counts as the nearest end of that range.
    ///
    /// Among the coroutines that are ready on a worker, those below 0 run first, the smallest number first; then those
    /// of 0; and those above 0 only when no other coroutine is ready there, nor on other workers as far as this one may
    /// take them. Coroutines of one priority take turns. Priorities order what *waits*: a coroutine that runs is not
    /// interrupted by a more urgent one, but it is [preempted](crate::RuntimeBuilder::preempt) after its slice, as
    /// always. Each worker has its own order. The coroutines that a coroutine spawns do not inherit its priority.
    ///
    /// None is starved: of 192 picks of a worker at least one goes to ordinary coroutines, and of `192 n` picks at
    /// least one to each of the n other priorities that wait there. Coroutines of priority 0 are scheduled as fast as
    /// in a program without priorities; a pick of another one takes a lock.
    ///
    /// # Examples
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// let runtime = silken::Runtime::builder().workers(1).build().unwrap();
    /// let order = Arc::new(Mutex::new(Vec::new()));
    /// runtime.run({
    ///     let order = order.clone();
    ///     move || {
    ///         let spawn = |priority| {
    ///             let order = order.clone();
    ///             let builder = silken::Builder::new().priority(priority);
    ///             builder.spawn(move || order.lock().unwrap().push(priority)).unwrap()
    ///         };
    ///         for handle in [5, 0, -1, -7].map(spawn) {
    ///             handle.join().unwrap();
    ///         }
    ///     }
    /// }).unwrap();
    /// assert_eq!(*order.lock().unwrap(), [-7, -1, 0, 5]);
    /// ```
    pub fn priority(mut self, priority: i64) -> Self {
        self.priority = priority;
        self
    }

    /// Binds the coroutine to the worker of this number, from 0 on ([`worker_id`](crate::worker_id)): it begins there,
    /// and always continues there, even while other workers are idle. The default is that any worker runs it.
    ///
    /// A worker is not an OS thread: when a call blocks the thread, another one continues as this worker, and this
    /// coroutine runs there again (see [`hand_off`](crate::RuntimeBuilder::hand_off)).
    ///
    /// # Errors
    /// [`spawn`](Self::spawn) fails with [`InvalidInput`](io::ErrorKind::InvalidInput) if the runtime has no worker of
    /// this number.
    ///
    /// # Examples
    /// ```
    /// let runtime = silken::Runtime::builder().workers(2).build().unwrap();
    /// runtime.run(|| {
    ///     let bound = silken::Builder::new().worker(1);
    ///     let handle = bound.spawn(|| {
    ///         silken::yield_now();
    ///         silken::worker_id()
    ///     });
    ///     assert_eq!(handle.unwrap().join().unwrap(), Some(1));
    ///     assert!(silken::Builder::new().worker(2).spawn(|| ()).is_err());
    /// }).unwrap();
    /// ```
    pub fn worker(mut self, id: usize) -> Self {
        self.worker = Some(id);
        self
    }

    /// The request for a spawn. Refuses the names that the operating system and std refuse for a thread.
    #[inline]
    pub(super) fn request(self, site: &'static Location<'static>) -> io::Result<SpawnRequest> {
        if self.name.as_ref().is_some_and(|name| name.contains('\0')) {
            let text = "a NUL in the name of a coroutine";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(SpawnRequest {
            name: self.name.map(Into::into),
            stack_bytes: self.stack_bytes,
            light: self.light,
            priority: self.priority.clamp(i16::MIN.into(), i16::MAX.into()) as i16,
            worker: self.worker,
            site: Some(site),
            ..SpawnRequest::default()
        })
    }

    /// Spawns a coroutine that runs `body`: [`spawn`](crate::spawn) with these settings. Does not wait for `body` to
    /// begin.
    ///
    /// # Errors
    /// If there is no address space or no guard for the stack, if the stack size is out of range, if the name has a
    /// NUL, if there is no such [worker](Self::worker), or if the runtime is shut down. In the default runtime also if
    /// a [`Runtime`](crate::Runtime) could not be
    /// [built](crate::RuntimeBuilder::build): the error is [`Unsupported`](io::ErrorKind::Unsupported) where coroutines
    /// can only be light and no code has vouched for that. The closure is dropped in each case.
    ///
    /// # Examples
    /// ```
    /// let error = silken::Builder::new().name("a\0b".to_string()).spawn(|| ()).unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    /// ```
    #[track_caller]
    pub fn spawn<T, F>(self, body: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let request = self.request(Location::caller())?;
        current_or_default().and_then(|scheduler| spawn_on(scheduler, request, body))
    }
}

impl From<&str> for Builder {
    fn from(name: &str) -> Self {
        Self::new().name(name.to_string())
    }
}

impl From<String> for Builder {
    fn from(name: String) -> Self {
        Self::new().name(name)
    }
}

impl From<&String> for Builder {
    fn from(name: &String) -> Self {
        Self::new().name(name.clone())
    }
}

impl From<usize> for Builder {
    fn from(stack_bytes: usize) -> Self {
        Self::new().stack_size(stack_bytes)
    }
}

impl<N: Into<String>> From<(N, usize)> for Builder {
    fn from((name, stack_bytes): (N, usize)) -> Self {
        Self::new().name(name.into()).stack_size(stack_bytes)
    }
}

/// Evaluates to a [`JoinHandle`], or in a [`scope`](crate::scope()) to a [`ScopedJoinHandle`](crate::ScopedJoinHandle).
/// Panics if the coroutine cannot be made, as [`spawn`] does.
///
/// A closure that spawns by `go!(scope, …)` in turn has to be `move`, since the macro takes the scope's reference.
///
/// # Examples
/// ```
/// use silken::go;
/// let four = go!(|| 2 + 2);
/// let named = go!("worker", || silken::current().name().map(String::from));
/// let small = go!(("small", 32 * 1024), || silken::current().stack_size());
/// assert_eq!(four.join().unwrap(), 4);
/// assert_eq!(named.join().unwrap().as_deref(), Some("worker"));
/// assert_eq!(small.join().unwrap(), 32 * 1024);
/// let text = String::from("borrowed");
/// silken::scope(|s| {
///     let length = go!(s, || text.len());
///     assert_eq!(length.join().unwrap(), 8);
/// });
/// ```
#[macro_export]
macro_rules! go {
    ($body:expr $(,)?) => {
        $crate::spawn($body)
    };
    ($how:expr, $body:expr $(,)?) => {
        $crate::__macros::SpawnWith::go($how, $body)
    };
}

/// Spawns a coroutine: mco's name for [`go!`](crate::go).
///
/// # Examples
/// ```
/// assert_eq!(silken::co!(|| 2 + 2).join().unwrap(), 4);
/// ```
#[macro_export]
macro_rules! co {
    ($($arguments:tt)+) => {
        $crate::go!($($arguments)+)
    };
}

/// Evaluates to a [`JoinHandle`], whose [`timeout_join`](JoinHandle::timeout_join) is the wait with a limit. For the
/// priority see [`Builder::priority`]. Panics if the coroutine cannot be made.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// let task = silken::task!(|name| format!("hello {name}"), "world", 1);
/// assert_eq!(task.timeout_join(Duration::from_secs(5)).expect("timeout"), "hello world");
/// ```
#[macro_export]
macro_rules! task {
    ($body:expr, $parameter:expr $(,)?) => {
        $crate::__macros::task($crate::Builder::new(), $body, $parameter)
    };
    ($body:expr, $parameter:expr, $priority:expr $(,)?) => {
        $crate::__macros::task($crate::Builder::new().priority($priority), $body, $parameter)
    };
}

/// What `task!` expands to.
#[doc(hidden)]
#[track_caller]
pub fn task<P, T, F>(builder: Builder, body: F, parameter: P) -> JoinHandle<T>
where
    F: FnOnce(P) -> T + Send + 'static,
    P: Send + 'static,
    T: Send + 'static,
{
    expect_spawned(builder.spawn(move || body(parameter)))
}

/// The first argument of `go!`, if there are two.
#[doc(hidden)]
pub trait SpawnWith<F> {
    /// The handle that `go!` evaluates to.
    type Handle;

    /// Spawns the coroutine.
    #[track_caller]
    fn go(self, body: F) -> Self::Handle;
}

impl<T, F> SpawnWith<F> for Builder
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    type Handle = JoinHandle<T>;

    fn go(self, body: F) -> JoinHandle<T> {
        expect_spawned(self.spawn(body))
    }
}

macro_rules! spawn_with {
    ($([$($parameter:tt)*] $how:ty;)*) => {$(
        impl<T, F, $($parameter)*> SpawnWith<F> for $how
        where
            F: FnOnce() -> T + Send + 'static,
            T: Send + 'static,
        {
            type Handle = JoinHandle<T>;

            fn go(self, body: F) -> JoinHandle<T> {
                SpawnWith::go(Builder::from(self), body)
            }
        }
    )*};
}

spawn_with! {
    [] &str;
    [] String;
    [] &String;
    [] usize;
    [N: Into<String>] (N, usize);
}
