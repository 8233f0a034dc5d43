//! Silken as a contestant: each figure measured through the public surface only.
//!
//! What is spelled with `std` here (mutexes, sockets) is meant so: that code is what a user has, unmodified.

mod echo;
mod fairness;
mod files;
mod messages;
mod spawns;
mod stacks;
mod time;
mod waits;
mod yields;

use crate::figure::Subject;

/// Silken's contestant for a figure.
pub fn subject(figure: &str) -> Option<Subject> {
    Some(match figure {
        "yield/isolated/one-site" => Subject::Process(yields::isolated_one_site),
        "yield/isolated/two-sites" => Subject::Process(yields::isolated_two_sites),
        "yield/light/one-site" => Subject::Process(yields::light_one_site),
        "yield/light/two-sites" => Subject::Process(yields::light_two_sites),
        "spawn_join/isolated/one" => Subject::Process(spawns::isolated_one),
        "spawn_join/light/one" => Subject::Process(spawns::light_one),
        "spawn_join/isolated/two" => Subject::Process(spawns::isolated_two),
        "park_unpark/round-trip" => Subject::Process(waits::park_unpark),
        "memory/isolated" => Subject::Process(spawns::memory_isolated),
        "memory/light" => Subject::Process(spawns::memory_light),
        "timers/one" => Subject::Process(time::timers_one),
        "timers/two" => Subject::Process(time::timers_two),
        "sleep_lateness" => Subject::Process(time::sleep_lateness),
        "idle" => Subject::Process(time::idle),
        "fairness/ticker" => Subject::Process(fairness::ticker),
        "fairness/echo" => Subject::Process(fairness::echo),
        "fairness/blocked" => Subject::Process(fairness::blocked),
        "fairness/hand-off" => Subject::Process(fairness::hand_off),
        "grow/has-room" => Subject::Process(stacks::has_room),
        "grow/on-a-segment" => Subject::Process(stacks::grows),
        "mutex/one" => Subject::Process(waits::mutex_one),
        "mutex/two" => Subject::Process(waits::mutex_two),
        "echo/1" | "echo/100" | "echo/5000" => Subject::Server(echo::serve),
        "echo/native/1" | "echo/native/100" => Subject::Server(echo::serve_native),
        _ => return messages::subject(figure).or_else(|| files::subject(figure)),
    })
}

/// Runs `work` on a fresh runtime, in a coroutine.
pub fn run<T: Send + 'static>(workers: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    let runtime = silken::Runtime::builder().workers(workers).build().expect("a runtime");
    runtime.run(work).expect("no panic")
}

/// Which of the two kinds of coroutine a figure speaks of.
#[derive(Clone, Copy)]
enum Kind {
    Isolated,
    Light,
}

impl Kind {
    #[inline]
    fn spawn<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> silken::JoinHandle<T> {
        match self {
            Kind::Isolated => silken::spawn(work),
            Kind::Light => {
                // SAFETY: S12: what is measured yields, parks or returns, and uses no thread-local.
                let builder = unsafe { silken::Builder::new().light() };
                builder.spawn(work).expect("a coroutine")
            }
        }
    }
}
