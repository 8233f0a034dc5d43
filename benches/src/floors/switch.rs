//! The price of a stack: corosensei, the leanest switch in the registry, with no scheduler around it.

use crate::figure::{Options, Sample, sample};
use crate::machine::ns_per_operation;
use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult};

const HOPS: usize = 10_000_000;
const SPAWNS: usize = 5_000_000;

/// Resume and suspend: one switch away and one switch to, as a yield has.
pub fn resume_suspend(_options: &Options) -> Sample {
    let mut coroutine: Coroutine<(), (), ()> = Coroutine::new(|yielder, ()| {
        loop {
            yielder.suspend(());
        }
    });
    let hop = |coroutine: &mut Coroutine<(), (), ()>| {
        assert!(matches!(coroutine.resume(()), CoroutineResult::Yield(())));
    };
    let value = ns_per_operation(HOPS, |count| (0..count).for_each(|_| hop(&mut coroutine)));
    // SAFETY: S4: the closure owns nothing, so nothing on the abandoned stack wants to be dropped.
    unsafe { coroutine.force_reset() };
    sample(value)
}

/// A coroutine made, run to its end and taken down, on a stack that is used again.
pub fn spawn_on_reused_stack(_options: &Options) -> Sample {
    let mut spare = Some(DefaultStack::default());
    let value = ns_per_operation(SPAWNS, |count| {
        for number in 0..count {
            let stack = spare.take().expect("given back by the coroutine before");
            let mut coroutine: Coroutine<(), (), usize, _> = Coroutine::with_stack(stack, move |_, ()| number);
            assert!(matches!(coroutine.resume(()), CoroutineResult::Return(result) if result == number));
            spare = Some(coroutine.into_stack());
        }
    });
    sample(value)
}
