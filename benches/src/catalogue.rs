//! What is measured, by whom, and what does silken aim for?
//!
//! The first contestant that is not silken is the base of the ratios: the floor where there is one, else the peer that
//! is closest in kind. A child finds its measurement here by the two names on its command line, so this table is the
//! only list.

use crate::figure::{Contestant, Figure, Goal, figure, process, server};
use crate::files;
use crate::floors::{self, identity, switch, threads};
use crate::messages;
use crate::peers::{may, stacker, tokio};
use crate::silken_side;

/// The figures in the order of printing.
pub fn figures() -> Vec<Figure> {
    let mut figures = Vec::new();
    figures.extend(yields());
    figures.extend(spawns_and_parks());
    figures.extend(memory_and_time());
    figures.extend(fairness());
    figures.extend(growths());
    figures.extend(mutexes());
    figures.extend(messages::figures());
    figures.extend(files::figures());
    figures.extend([
        echo("echo/1", 1, 1.05),
        echo("echo/100", 100, 1.06),
        echo("echo/5000", 5_000, 1.08),
        echo("echo/native/1", 1, 1.03),
        echo("echo/native/100", 100, 1.03),
    ]);
    figures.into_iter().map(with_silken).collect()
}

/// The figure with silken as its first contestant, where it takes part.
fn with_silken(mut figure: Figure) -> Figure {
    if let Some(subject) = silken_side::subject(figure.name) {
        let label = "silken";
        figure.contestants.insert(0, Contestant { label, subject });
    }
    figure
}

fn yields() -> Vec<Figure> {
    let floor = || process("floor corosensei", switch::resume_suspend);
    let isolated = || {
        let both = process("corosensei+wrfsbase", identity::switch_and_write);
        vec![floor(), both, process("wrfsbase", identity::write_alone)]
    };
    let mut against_all = isolated();
    against_all.extend([
        process("peer may", may::yield_now),
        process("peer tokio", tokio::yield_now),
    ]);
    vec![
        figure("yield/isolated/one-site", "ns", true, Goal::AtMost(16.0), against_all),
        figure("yield/isolated/two-sites", "ns", true, Goal::AtMost(24.0), isolated()),
        figure("yield/light/one-site", "ns", true, Goal::AtMost(8.0), vec![floor()]),
        figure("yield/light/two-sites", "ns", true, Goal::AtMost(24.0), vec![floor()]),
    ]
}

fn spawns_and_parks() -> Vec<Figure> {
    let floor = || process("floor corosensei", switch::spawn_on_reused_stack);
    let peers = || {
        vec![
            floor(),
            process("peer tokio", tokio::spawn_join_one),
            process("peer may", may::spawn_join_one),
        ]
    };
    let peers_two = || {
        vec![
            floor(),
            process("peer tokio", tokio::spawn_join_two),
            process("peer may", may::spawn_join_two),
        ]
    };
    let parks = vec![
        process("peer tokio", tokio::park_unpark),
        process("peer may", may::park_unpark),
        process("threads", threads::park_unpark),
    ];
    vec![
        figure("spawn_join/isolated/one", "ns", true, Goal::AtMost(100.0), peers()),
        figure("spawn_join/light/one", "ns", true, Goal::AtMost(50.0), vec![floor()]),
        figure("spawn_join/isolated/two", "ns", false, Goal::AtMost(180.0), peers_two()),
        figure("park_unpark/round-trip", "ns", true, Goal::Open, parks),
    ]
}

fn memory_and_time() -> Vec<Figure> {
    let memory = || {
        vec![
            process("floor one page", floors::one_page),
            process("peer tokio", tokio::memory),
        ]
    };
    let lateness = vec![
        process("threads", threads::sleep_lateness),
        process("peer tokio", tokio::sleep_lateness),
    ];
    let idle = vec![process("peer tokio", tokio::idle), process("peer may", may::idle)];
    vec![
        figure("memory/isolated", "bytes", true, Goal::AtMost(9_216.0), memory()),
        figure("memory/light", "bytes", true, Goal::AtMost(4_813.0), memory()),
        figure(
            "timers/one",
            "s",
            true,
            Goal::Open,
            vec![process("peer tokio", tokio::timers_one)],
        ),
        figure(
            "timers/two",
            "s",
            false,
            Goal::AtMost(1.35),
            vec![process("peer tokio", tokio::timers_two)],
        ),
        figure("sleep_lateness", "µs p50", false, Goal::Open, lateness),
        figure("idle", "wake-ups in 2 s", false, Goal::AtMost(0.0), idle),
    ]
}

/// Beside six loops that never wait, and beside fifty calls that block their threads.
fn fairness() -> Vec<Figure> {
    let threads = |measure| vec![process("threads", measure)];
    vec![
        figure(
            "fairness/ticker",
            "ms p99",
            false,
            Goal::AtMost(15.0),
            threads(threads::ticker_beside_loops),
        ),
        figure(
            "fairness/echo",
            "ms p99",
            false,
            Goal::AtMost(25.0),
            threads(threads::echo_beside_loops),
        ),
        figure("fairness/blocked", "% lost", false, Goal::AtMost(20.0), vec![]),
        figure("fairness/hand-off", "ms p50", false, Goal::AtMost(2.0), vec![]),
    ]
}

fn growths() -> Vec<Figure> {
    let peer = |measure| vec![process("peer stacker", measure)];
    vec![
        figure("grow/has-room", "ns", true, Goal::Open, peer(stacker::has_room)),
        figure("grow/on-a-segment", "ns", true, Goal::Open, peer(stacker::grows)),
    ]
}

fn mutexes() -> Vec<Figure> {
    let threads = || process("threads", threads::mutex);
    let one = vec![
        threads(),
        process("peer may", may::mutex_one),
        process("peer tokio", tokio::mutex_one),
    ];
    let two = vec![
        threads(),
        process("peer may", may::mutex_two),
        process("peer tokio", tokio::mutex_two),
    ];
    vec![
        figure("mutex/one", "ns", true, Goal::AtMost(16.0), one),
        figure("mutex/two", "ns", false, Goal::AtMost(40.0), two),
    ]
}

fn echo(name: &'static str, connections: usize, ratio_max: f64) -> Figure {
    let servers = vec![
        server("floor raw epoll", floors::echo::serve),
        server("peer tokio", tokio::echo),
        server("peer may", may::echo),
    ];
    Figure {
        connections,
        ..figure(name, "µs CPU", true, Goal::TimesFloor(ratio_max), servers)
    }
}
