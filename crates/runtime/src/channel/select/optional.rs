//! How is an arm switched off? It is an `Option`, and `None` is never ready.

use super::{Arm, Operation, Ticket};

// SAFETY: S8: the arm inside stays where the option stays, and every method but the trivial ones is its own.
unsafe impl<A: Arm> Arm for Option<A> {
    fn try_now(&self) -> bool {
        self.as_ref().is_some_and(A::try_now)
    }

    unsafe fn enlist(&self, ticket: &Ticket, index: u32) -> bool {
        match self {
            // SAFETY: S8: the caller keeps the option and the ticket in place, as the arm's own `enlist` asks.
            Some(arm) => unsafe { arm.enlist(ticket, index) },
            None => true,
        }
    }

    fn withdraw(&self) {
        self.iter().for_each(A::withdraw);
    }

    fn let_go(&self) {
        self.iter().for_each(A::let_go);
    }

    fn wakers_claim(&self) -> bool {
        // What is not there has no waker.
        self.as_ref().is_none_or(A::wakers_claim)
    }

    fn deadline_ns(&self) -> Option<u64> {
        self.as_ref().and_then(A::deadline_ns)
    }

    fn discard(&self) {
        self.iter().for_each(A::discard);
    }
}

impl<A: Operation> Operation for Option<A> {
    type Output = A::Output;

    fn finish(self) -> A::Output {
        self.expect("only an arm that is there is chosen").finish()
    }
}
