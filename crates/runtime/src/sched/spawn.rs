//! How does a closure become a queued coroutine?
//!
//! On a worker of the same scheduler, a spawn takes a core from the worker's cache and a reservation of a stack from
//! its stock. It stores the closure in the core and queues the coroutine (`queues.rs` says where). A spawn of an
//! unnamed coroutine with a small closure needs no allocation, no lock and no system call, unless it has to wake a
//! sleeper, the worker's cache of cores or its stock of reservations is empty, the ring is full, it is bound to another
//! worker, or it has a priority. From elsewhere it goes through the shared pools and the injector.

use super::processor::SharedProcessor;
use super::worker::Worker;
use super::{NEXT_ID, Scheduler, not_isolated, why_not_isolated};
use crate::coroutine::{
    Core, CoreRef, Critical, Group, Kind, NO_HOME, PooledStack, Pools, Ready, ResultOwner, StdThread, Tie, c_thread,
    current_link, inherits_always, pass_values_on, pools,
};
use crate::loom::static_atomic::Ordering;
use silken_context::identity::Identity;
use std::io;
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::Arc;

/// Why a coroutine could not be made. The closure is dropped, outside of critical sections.
#[derive(Debug)]
pub(crate) enum SpawnError {
    /// The runtime is shut down.
    Stopped,
    /// The coroutine would have to be a light one, and the program has not vouched for it.
    NotIsolated,
    /// There is no worker of this number.
    NoWorker(usize),
    /// No stack can be had.
    NoStack(io::Error),
}

impl From<SpawnError> for io::Error {
    fn from(error: SpawnError) -> Self {
        match error {
            SpawnError::Stopped => io::Error::other("the runtime is shut down"),
            SpawnError::NotIsolated => not_isolated(&why_not_isolated().unwrap_or_default()),
            SpawnError::NoWorker(id) => io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("the runtime has no worker {id}: its workers are numbered from 0"),
            ),
            SpawnError::NoStack(error) => error,
        }
    }
}

/// The parameters of a spawn.
#[derive(Default)]
pub(crate) struct SpawnRequest {
    pub(crate) name: Option<Arc<str>>,
    pub(crate) stack_bytes: Option<usize>,
    /// Whether it is to be a light one. The caller has vouched for it.
    pub(crate) light: bool,
    pub(crate) site: Option<&'static Location<'static>>,
    /// The scope that waits for the coroutine.
    pub(crate) group: Option<NonNull<Group>>,
    /// The body may borrow from the spawner's frames. A scope's child always may.
    pub(crate) borrows: bool,
    /// The priority: a smaller number is more urgent.
    pub(crate) priority: i16,
    /// The worker that is to run it.
    pub(crate) worker: Option<usize>,
}

impl SpawnRequest {
    /// Lets std make the thread handle that the coroutine is to have, if it is to have a name or inherits. Called
    /// outside of critical sections, since spawn hooks are user code.
    #[inline(always)]
    fn std_thread(&self, scheduler: &Scheduler) -> Option<StdThread> {
        if self.name.is_none() && !inherits_always() {
            return None;
        }
        self.make_std_thread(scheduler)
    }

    #[cold]
    fn make_std_thread(&self, scheduler: &Scheduler) -> Option<StdThread> {
        // What is made for a spawn that is refused is leaked: std gives no way to drop it. So refusals come first; what
        // is left is a race with a shutdown, or address space that has just run out.
        let has_class = self.stack_bytes.is_none_or(|bytes| Pools::class_for(bytes).is_ok());
        let is_isolated = matches!(scheduler.kind_of(self.light), Ok(Kind::Isolated));
        let may_be_made = is_isolated && has_class && !scheduler.is_stopping();
        may_be_made.then(|| StdThread::make(self.name.as_deref())).flatten()
    }
}

/// Makes a coroutine and queues it.
///
/// # Safety
/// What `body` and its result borrow outlives the coroutine and the taking of its result (S1); a group lives until the
/// coroutine has left it (S8); `body` and its result may be sent to another thread (S2).
pub(crate) unsafe fn spawn<F: FnOnce() -> T, T>(
    scheduler: &'static Scheduler,
    request: SpawnRequest,
    body: F,
) -> Result<CoreRef, SpawnError> {
    let std_thread = request.std_thread(scheduler);
    let critical = Critical::enter();
    let worker = scheduler.own_worker(current_link());
    let made = match make(scheduler, worker, request) {
        Ok(made) => made,
        Err(error) => {
            // The closure's destructor is user code, which may wait.
            drop(critical);
            drop(body);
            return Err(error);
        }
    };
    made.will_be(std_thread);
    // SAFETY: S1: the bounds are the caller's.
    let (handle, ready) = unsafe { made.with_body(body) };
    match worker {
        Some(worker) => worker.queue_spawned(ready),
        None => scheduler.schedule_from_outside(ready),
    }
    Ok(handle)
}

/// Makes a coroutine of each body and queues them all. One worker is woken, which wakes the next if it leaves work
/// behind. The handles go to `made`, also those that were made before an error. After an error, the bodies that are
/// left stay in `bodies`.
///
/// # Safety
/// The contract of [`spawn`] holds for each body.
pub(crate) unsafe fn spawn_batch<F: FnOnce() -> T, T>(
    scheduler: &'static Scheduler,
    site: &'static Location<'static>,
    bodies: &mut Vec<F>,
    made: &mut Vec<CoreRef>,
) -> Result<(), SpawnError> {
    let count = bodies.len();
    let mut queue = Vec::with_capacity(count);
    made.reserve(count);
    let request = || SpawnRequest {
        site: Some(site),
        ..SpawnRequest::default()
    };
    // Made outside of the critical section, since spawn hooks are user code.
    let mut std_threads: Vec<_> = (0..count).map_while(|_| request().std_thread(scheduler)).collect();
    let _critical = Critical::enter();
    let worker = scheduler.own_worker(current_link());
    let mut outcome = Ok(());
    bodies.reverse();
    while let Some(body) = bodies.pop() {
        match make(scheduler, worker, request()) {
            Ok(fresh) => {
                fresh.will_be(std_threads.pop());
                // SAFETY: S1: the bounds are the caller's.
                let (handle, ready) = unsafe { fresh.with_body(body) };
                made.push(handle);
                queue.push(ready);
            }
            Err(error) => {
                // Not dropped here, since its destructor is user code, which may wait.
                bodies.push(body);
                outcome = Err(error);
                break;
            }
        }
    }
    match worker {
        Some(worker) => worker.queue_spawned_batch(queue),
        None => {
            scheduler.injector.push_all(queue.into_iter());
            scheduler.notify();
        }
    }
    outcome
}

/// Makes a coroutine that is a thread of C, and queues it. Its stack is chosen now, since the identity in it is the
/// thread's number. `tell` gets that number before anybody could run the coroutine.
///
/// # Safety
/// As for [`spawn`]; and the coroutine must be isolated in this runtime.
pub(crate) unsafe fn spawn_thread<F: FnOnce()>(
    scheduler: &'static Scheduler,
    stack_bytes: usize,
    body: impl FnOnce(usize) -> F,
    tell: impl FnOnce(usize),
) -> Result<(), SpawnError> {
    let _critical = Critical::enter();
    let worker = scheduler.own_worker(current_link());
    let class = Pools::class_for(stack_bytes).map_err(SpawnError::NoStack)?;
    // A reservation of its own for as long as the stack belongs to no coroutine.
    pools().reserve(class, 1).map_err(SpawnError::NoStack)?;
    let pooled = pools().take_stack(class).map_err(|error| {
        pools().unreserve(class, 1);
        SpawnError::NoStack(error)
    })?;
    let request = SpawnRequest {
        stack_bytes: Some(stack_bytes),
        ..SpawnRequest::default()
    };
    let made = make(scheduler, worker, request);
    pools().unreserve(class, 1);
    let made = match made {
        Ok(made) => made,
        Err(error) => {
            pools().give_stack(class, pooled);
            return Err(error);
        }
    };
    let number = pooled.identity.map_or(0, Identity::base);
    made.has_stack(pooled);
    // SAFETY: S1: the bounds are the caller's.
    let (handle, ready) = unsafe { made.with_body(body(number)) };
    // The coroutine drops its own outcome: the value for C is in the table.
    let owner = handle.lifecycle.detach();
    debug_assert!(owner == ResultOwner::Other, "it has not begun");
    c_thread::insert(number, handle);
    tell(number);
    match worker {
        Some(worker) => worker.queue_spawned(ready),
        None => scheduler.schedule_from_outside(ready),
    }
    Ok(())
}

/// A coroutine that has no body yet and that no other code knows. It is counted as spawned.
struct Made(NonNull<Core>);

impl Made {
    /// Gives the coroutine its thread handle of std.
    #[inline(always)]
    fn will_be(&self, std_thread: Option<StdThread>) {
        if let Some(std_thread) = std_thread {
            // SAFETY: S2: cores are type-stable, and this one is ours.
            unsafe { self.0.as_ref() }.will_be(std_thread);
        }
    }

    /// Gives the coroutine the stack on which it will start, as a thread of C.
    fn has_stack(&self, pooled: PooledStack) {
        // SAFETY: S2: cores are type-stable, and this one is ours.
        let core = unsafe { self.0.as_ref() };
        core.set_tie(Tie::Thread);
        // SAFETY: S1: ours.
        *unsafe { &mut *core.stack.get() } = Some(pooled);
    }

    /// Gives the coroutine its body. Returns a handle and the duty to queue it.
    ///
    /// # Safety
    /// The contract of [`spawn`] holds.
    #[inline(always)]
    unsafe fn with_body<F: FnOnce() -> T, T>(self, body: F) -> (CoreRef, Ready) {
        // SAFETY: S2: cores are type-stable, and this one is ours.
        let fresh = unsafe { self.0.as_ref() };
        // SAFETY: S1: fresh from the pool; the bounds are the caller's.
        unsafe { fresh.body.put(body) };
        // SAFETY: S2: one of the two references that `begin` made.
        let handle = unsafe { CoreRef::adopt(self.0) };
        // SAFETY: S1: nobody else knows the core.
        (handle, unsafe { Ready::from_core(self.0) })
    }
}

/// Makes a coroutine without its body; the caller is in a critical section, and `worker` is its own.
#[inline(always)]
fn make(
    scheduler: &'static Scheduler,
    worker: Option<&'static Worker>,
    request: SpawnRequest,
) -> Result<Made, SpawnError> {
    let kind = scheduler.kind_of(request.light)?;
    if let Some(id) = request.worker
        && id >= scheduler.size.active()
    {
        return Err(SpawnError::NoWorker(id));
    }
    let class = match request.stack_bytes {
        None => scheduler.class,
        Some(bytes) => Pools::class_for(bytes).map_err(SpawnError::NoStack)?,
    };
    match worker {
        Some(worker) => {
            let spawned = &worker.processor().shared.spawned;
            if !scheduler.count_spawn_from_inside(spawned) {
                return Err(SpawnError::Stopped);
            }
            worker.link.caches.reserve(class).map_err(|error| {
                SharedProcessor::uncount(spawned);
                SpawnError::NoStack(error)
            })?;
        }
        None => {
            if !scheduler.count_spawn_from_outside() {
                return Err(SpawnError::Stopped);
            }
            pools().reserve(class, 1).map_err(|error| {
                scheduler.uncount_spawn_from_outside();
                SpawnError::NoStack(error)
            })?;
        }
    }
    Ok(Made(begin(scheduler, worker, kind, class, request)))
}

#[inline(always)]
fn tie_of(request: &SpawnRequest, scheduler: &Scheduler) -> Tie {
    let Some(group) = request.group else {
        return if request.borrows { Tie::Borrows } else { Tie::None };
    };
    // SAFETY: S8: the spawner's scope is open.
    match unsafe { group.as_ref() }.owner() {
        Some(parent) if parent.belongs_to(scheduler) => Tie::Child,
        _ => Tie::Borrows,
    }
}

/// Takes a core out of the pool and begins its life, with two references: the coroutine's own, and the caller's.
fn begin(
    scheduler: &'static Scheduler,
    worker: Option<&'static Worker>,
    kind: Kind,
    class: u8,
    request: SpawnRequest,
) -> NonNull<Core> {
    let (pooled, id) = match worker {
        Some(worker) => (worker.link.caches.take_core(), worker.next_id()),
        // Relaxed: only distinctness matters. Workers take blocks of the same counter.
        None => (pools().take_core(), NEXT_ID.fetch_add(1, Ordering::Relaxed)),
    };
    // SAFETY: S2: cores are type-stable, and this one is ours.
    let core = unsafe { pooled.as_ref() };
    core.kind.set(kind);
    core.started.set(false);
    // Set to its worker when the coroutine starts: a worker that finds itself here knows that the coroutine has
    // started.
    core.link.set(std::ptr::null());
    core.class.set(class);
    core.scheduler.set(Some(scheduler));
    core.site.set(request.site);
    core.set_group(
        request
            .group
            .map_or(std::ptr::null(), |group| group.as_ptr().cast_const()),
    );
    core.set_tie(tie_of(&request, scheduler));
    core.priority.set(request.priority);
    scheduler.note_priority(request.priority);
    core.home.set(request.worker.map_or(NO_HOME, |id| id as u16));
    core.token.store(false, Ordering::Relaxed);
    if request.name.is_some() {
        // SAFETY: S2: ours.
        *unsafe { &mut *core.name.get() } = request.name;
    }
    core.set_id(id);
    core.lifecycle.begin(2);
    pass_values_on(core);
    pooled
}
