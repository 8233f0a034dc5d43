//! Which figures are about what coroutines wait for among themselves? Channels, locks, select, cancellation.
//!
//! One file per contestant (silken's is `silken_side/messages.rs`), all with the same shapes of program, so that a
//! difference is the library's:
//!
//! * *round trip*: two units send one message to and fro over two channels; a figure is one message there and one back;
//! * *mpmc*: four senders, four receivers, one channel; per message, each counted once;
//! * *lock*, *rwlock*: eight units on one lock; per acquisition; one in [`WRITE_EVERY`] writes;
//! * *select*: one sender serves four channels in turn, one receiver selects over them; per message;
//! * *cancel*: a hundred thousand parked units are cancelled and joined; per unit.
//!
//! A contestant without the primitive (tokio has no rendezvous channel, may no bounded one) is absent from that figure,
//! not imitated.

mod may;
mod threads;
mod tokio;

use crate::figure::{Contestant, Figure, Goal, figure, process};

/// Units on each side of a many-to-many channel.
pub const SIDES: usize = 4;
/// Capacity of the bounded many-to-many channel.
pub const MPMC_CAPACITY: usize = 1_024;
/// Units on one lock.
pub const CONTENDERS: usize = 8;
/// One acquisition in so many writes.
pub const WRITE_EVERY: usize = 64;
/// Units that are parked when the cancelling begins.
pub const CANCELLED: usize = 100_000;

/// The figures in the order of printing.
pub fn figures() -> Vec<Figure> {
    let mut figures = round_trips();
    figures.extend(mpmc());
    figures.extend(locks());
    figures.push(figure(
        "select/four",
        "ns",
        true,
        Goal::Open,
        vec![
            process("threads crossbeam", threads::select),
            process("peer tokio", tokio::select),
        ],
    ));
    figures.push(figure(
        "cancel/parked",
        "ns",
        true,
        Goal::Open,
        vec![process("peer tokio", tokio::cancel)],
    ));
    figures
}

fn round_trips() -> Vec<Figure> {
    let rendezvous = || vec![process("threads crossbeam", threads::rendezvous)];
    let one = |peer: Contestant| {
        let std = process("threads std", threads::std_capacity_one);
        vec![process("threads crossbeam", threads::capacity_one), std, peer]
    };
    let unbounded = |peers: [Contestant; 2]| {
        let std = process("threads std", threads::std_unbounded);
        let mut all = vec![process("threads crossbeam", threads::unbounded), std];
        all.extend(peers);
        all
    };
    let goal = || Goal::AtMost(120.0);
    vec![
        figure("channel/rendezvous/one", "ns", true, goal(), rendezvous()),
        figure("channel/rendezvous/two", "ns", false, Goal::Open, rendezvous()),
        figure(
            "channel/capacity-1/one",
            "ns",
            true,
            goal(),
            one(process("peer tokio", tokio::capacity_one_one)),
        ),
        figure(
            "channel/capacity-1/two",
            "ns",
            false,
            Goal::Open,
            one(process("peer tokio", tokio::capacity_one_two)),
        ),
        figure(
            "channel/unbounded/one",
            "ns",
            true,
            goal(),
            unbounded([
                process("peer tokio", tokio::unbounded_one),
                process("peer may", may::unbounded_one),
            ]),
        ),
        figure(
            "channel/unbounded/two",
            "ns",
            false,
            Goal::Open,
            unbounded([
                process("peer tokio", tokio::unbounded_two),
                process("peer may", may::unbounded_two),
            ]),
        ),
    ]
}

fn mpmc() -> Vec<Figure> {
    vec![
        figure(
            "mpmc/bounded",
            "ns",
            false,
            Goal::AtMost(33.3),
            vec![process("threads crossbeam", threads::mpmc_bounded)],
        ),
        figure(
            "mpmc/unbounded",
            "ns",
            false,
            Goal::AtMost(25.0),
            vec![
                process("threads crossbeam", threads::mpmc_unbounded),
                process("peer may", may::mpmc_unbounded),
            ],
        ),
    ]
}

fn locks() -> Vec<Figure> {
    use crate::floors::threads as std_threads;
    use crate::peers::{may as may_peer, tokio as tokio_peer};
    vec![
        figure(
            "lock/one",
            "ns",
            true,
            Goal::AtMost(16.0),
            vec![
                process("threads", std_threads::mutex),
                process("peer may", may_peer::mutex_one),
                process("peer tokio", tokio_peer::mutex_one),
            ],
        ),
        figure(
            "lock/two",
            "ns",
            false,
            Goal::AtMost(40.0),
            vec![
                process("threads", std_threads::mutex),
                process("peer may", may_peer::mutex_two),
                process("peer tokio", tokio_peer::mutex_two),
            ],
        ),
        figure(
            "rwlock/two",
            "ns",
            false,
            Goal::Open,
            vec![
                process("threads", threads::rwlock),
                process("peer may", may::rwlock),
                process("peer tokio", tokio::rwlock),
            ],
        ),
    ]
}
