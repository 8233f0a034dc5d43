//! What must be done to a coroutine before a switch to it? It is attached to the worker, which it then finds by its
//! link; it is named where it has no identity of its own; and it has a stack.

use super::fatal;
use super::processor::SharedProcessor;
use super::queues::is_bound;
use super::switch::prepare;
use super::worker::Worker;
use crate::coroutine::{Core, Kind, PooledStack, Ready, WaitReason, slots_in_block, stacks_are_measured};
use silken_context::identity::Identity;
use std::ptr::{self, NonNull};

impl Worker {
    /// The worker on which the coroutine runs, or ran last if it runs late.
    #[inline(always)]
    pub(super) fn of(core: &Core) -> &'static Worker {
        // SAFETY: S2: set before the coroutine was continued; workers live for ever.
        let link = unsafe { &*core.link.get() };
        Worker::from_link(link)
    }

    /// Whether the coroutine has started, and ran on this worker when it last ran. Then [`announce`](Self::announce) is
    /// all that a switch to it needs.
    #[inline(always)]
    pub(super) fn has_run(&self, core: &Core) -> bool {
        ptr::eq(core.link.get(), &raw const self.link)
    }

    /// The coroutine of a `Ready`, for a switch that follows at once. A light one is named in the identity that it
    /// shares.
    #[inline(always)]
    pub(super) fn announce(&self, ready: Ready) -> &'static Core {
        // SAFETY: S2: cores are type-stable; the Ready is the right to run this one.
        let core: &'static Core = unsafe { ready.into_core().as_ref() };
        if core.kind.get() == Kind::Light {
            self.name_light(core);
        }
        core
    }

    /// Prepares the coroutine of a `Ready` for a switch: it is attached to this worker, named, and has a stack.
    #[inline(always)]
    pub(super) fn make_runnable(&'static self, ready: Ready) -> &'static Core {
        if !self.has_run(ready.core()) {
            self.make_runnable_here(ready.core());
        }
        self.announce(ready)
    }

    #[cold]
    #[inline(never)]
    fn make_runnable_here(&'static self, core: &Core) {
        // SAFETY: S2: cores are type-stable; the caller has the right to run this one.
        let core: &'static Core = unsafe { NonNull::from(core).as_ref() };
        if core.started.get() {
            self.adopt(core);
        } else {
            self.start_on_new_stack(core);
        }
    }

    /// Attaches to this worker an isolated coroutine that last ran on another worker.
    fn adopt(&'static self, core: &Core) {
        core.link.set(&raw const self.link);
        // SAFETY: S3: only isolated ones come from elsewhere, and nobody runs this one.
        unsafe { slots_in_block(core) }.set_link(&self.link);
        SharedProcessor::count(&self.processor().shared.migrations);
    }

    fn start_on_new_stack(&'static self, core: &'static Core) {
        // SAFETY: S1: the caller owns the core.
        let chosen = unsafe { &mut *core.stack.get() }.take();
        let pooled = match chosen.map_or_else(|| self.link.caches.take_stack(core.class.get(), core.kind.get()), Ok) {
            Ok(pooled) => pooled,
            Err(error) => self.no_stack(core, &error),
        };
        if stacks_are_measured() {
            pooled.forget_use();
        }
        // SAFETY: S1: fresh from the pool.
        unsafe { prepare(core, &pooled) };
        self.start(core, pooled);
    }

    /// The address space was reserved at the spawn. So a failure here means that there is no memory for page tables, or
    /// that the limit of memory maps is reached.
    #[cold]
    fn no_stack(&self, core: &Core, error: &std::io::Error) -> ! {
        let reason = error.to_string();
        let name = core.name().map_or("unnamed", |name| name);
        fatal_start(name, &reason)
    }

    /// Binds a stack to a coroutine that starts.
    pub(super) fn start(&'static self, core: &'static Core, pooled: PooledStack) {
        let own = pooled.identity.map(Identity::base);
        core.context
            .set_identity(own.unwrap_or_else(|| self.link.base.identity()));
        // SAFETY: S1: the caller owns the core.
        *unsafe { &mut *core.stack.get() } = Some(pooled);
        core.link.set(&raw const self.link);
        core.started.set(true);
        core.set_reason(WaitReason::None);
        match core.kind.get() {
            Kind::Light => {
                core.home.set(self.link.id as u16);
                self.note_light();
                self.find_panic_count();
                self.name_light(core);
            }
            Kind::Isolated => {
                // SAFETY: S3: it is isolated, and nobody runs under its block yet.
                let slots = unsafe { slots_in_block(core) };
                slots.core.set(core);
                slots.set_link(&self.link);
                // `main` ends this section once the predecessor is settled.
                slots.critical.set(1);
            }
        }
        debug_assert!(core.kind.get() == Kind::Isolated || is_bound(core));
    }
}

fn fatal_start(name: &str, reason: &str) -> ! {
    crate::sys::report(&["silken: coroutine '", name, "' gets no stack: ", reason, "\n"]);
    fatal("a coroutine cannot start")
}
