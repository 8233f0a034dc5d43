//! What does silken cost beside the machine's floors and its peers? `bench` prints one line per figure.
//!
//! A *figure* is one number about one behaviour (a yield, a spawn and join, an echoed request). A *contestant* is a
//! program that produces it: silken, a *floor* (what the machine itself costs, below which nobody can go) or a *peer*
//! (another runtime). A *round* runs every contestant of a figure once, in order; the figure is the median over the
//! rounds.
//!
//! Two rules keep the comparison honest. Rounds interleave the contestants (A B C A B C …), because the clock of a
//! shared machine drifts by more over a minute than many of the differences we look for: measured one after the other,
//! A and B would be compared across that drift. And each measurement is a fresh child process, because a runtime leaves
//! threads, grown arenas and warmed caches behind; the child is pinned to one CPU where the figure speaks of one
//! worker.
//!
//! Rejected: one process for all with warm-up loops (whoever ran last saw the heap of whoever ran first), and minima
//! instead of medians (a minimum rewards a contestant that is erratic).
//!
//! Usage: `bench [--quick] [--list] [--samples] [--coroutines N] [name…]`; a name selects the figures that contain it.

mod catalogue;
mod echo;
mod epoll;
mod figure;
mod files;
mod floors;
mod load;
mod loops;
mod machine;
mod messages;
mod peers;
mod rounds;
#[cfg(not(feature = "silken-side"))]
#[path = "silken_absent.rs"]
mod silken_side;
#[cfg(feature = "silken-side")]
mod silken_side;

use figure::Options;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("--child") => return rounds::child(&catalogue::figures(), &arguments[1..]),
        Some("--load") => return load::child(&arguments[1..]),
        _ => {}
    }
    let options = match Options::parse(lexopt::Parser::from_args(arguments)) {
        Ok(options) => options,
        Err(complaint) => {
            eprintln!("bench: {complaint}");
            eprintln!("usage: bench [--quick] [--list] [--samples] [--coroutines N] [name…]");
            return ExitCode::from(2);
        }
    };
    for figure in catalogue::figures()
        .iter()
        .filter(|figure| options.selects(figure.name))
    {
        if options.list {
            println!("{}", figure.name);
        } else {
            println!("{}", figure.run(&options));
        }
    }
    ExitCode::SUCCESS
}
