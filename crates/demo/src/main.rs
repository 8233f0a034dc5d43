//! One std-only program on threads and on coroutines, side by side.
//!
//! The program is `store_server.rs` with its clients, `clients.rs`; neither knows who runs it. For each engine and each
//! number of connections a child process (`child.rs`, `case.rs`) serves, asks, checks every reply and measures itself;
//! last, `park.rs` weighs parked coroutines. The tables go to standard output, progress to standard error.

#![forbid(unsafe_code)]

mod args;
mod case;
mod child;
mod clients;
mod engine;
mod limits;
mod measure;
mod park;
mod progress;
mod report;
mod store_server;
mod summary;
mod table;

use args::{Args, EngineName, Task};
use child::Finished;
use progress::Progress;
use std::process::ExitCode;
use summary::{Summary, parked_cells, served_cells};
use table::{Table, grouped};

fn main() -> ExitCode {
    let args = match args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(mistake) => {
            eprintln!("demo: {mistake}; try --help");
            return ExitCode::from(2);
        }
    };
    if args.help {
        print!("{}", args::HELP);
        return ExitCode::SUCCESS;
    }
    if let Some(task) = args.child {
        args.engines.iter().for_each(|engine| case::run(&args, *engine, task));
        return ExitCode::SUCCESS;
    }
    if compare(&args) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs all cases and prints the tables. True if nothing was wrong.
fn compare(args: &Args) -> bool {
    let mut progress = Progress::new();
    let mut summary = Summary::default();
    let mut served = Table::new(&[
        "engine",
        "connections",
        "requests/s",
        "p50",
        "p99",
        "OS threads",
        "RSS",
        "CPU s/M req",
        "wrong",
    ]);
    for &connections in &args.connections {
        for &engine in &args.engines {
            let case = format!("{}, {} connections", engine.name(), grouped(connections as u64));
            let finished = run_case(args, engine, Task::Serve(connections), &case, &mut progress);
            let first = [engine.name().to_owned(), grouped(connections as u64)];
            served.row(summary.add(&case, first, finished, served_cells));
        }
    }
    let mut parked = Table::new(&[
        "engine",
        "parked",
        "bytes each",
        "+ page tables",
        "mappings",
        "OS threads",
        "spawn+park",
        "wake+join",
        "wrong",
    ]);
    for &engine in args.engines.iter().filter(|_| args.parked > 0) {
        let case = format!("{}, parked", engine.name());
        let finished = run_case(args, engine, Task::Park(args.parked), &case, &mut progress);
        let first = [engine.name().to_owned(), grouped(args.parked as u64)];
        parked.row(summary.add(&case, first, finished, parked_cells));
    }
    progress.clear();
    println!(
        "One std-only TCP store and its clients, both ends in one process:\n\n{}",
        served.render()
    );
    if args.parked > 0 {
        println!("Parked at once:\n\n{}", parked.render());
    }
    summary.print()
}

fn run_case(args: &Args, engine: EngineName, task: Task, label: &str, progress: &mut Progress) -> Finished {
    let descriptors = match task {
        Task::Serve(connections) => limits::descriptors_for(connections),
        Task::Park(_) => 0,
    };
    child::run(engine, descriptors, &args.for_child(engine, task), label, progress)
}
