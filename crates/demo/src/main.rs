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
mod table;

use args::{Args, EngineName, Task};
use child::{Finished, Outcome};
use progress::Progress;
use report::Numbers;
use std::process::ExitCode;
use table::{Table, duration, grouped, mebibytes};

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
        args.engines
            .iter()
            .for_each(|engine| case::run(&args, *engine, task));
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
            let case = format!(
                "{}, {} connections",
                engine.name(),
                grouped(connections as u64)
            );
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

fn run_case(
    args: &Args,
    engine: EngineName,
    task: Task,
    label: &str,
    progress: &mut Progress,
) -> Finished {
    let descriptors = match task {
        Task::Serve(connections) => limits::descriptors_for(connections),
        Task::Park(_) => 0,
    };
    child::run(
        engine,
        descriptors,
        &args.for_child(engine, task),
        label,
        progress,
    )
}

/// What is to be said beside the numbers, and whether all was well.
#[derive(Default)]
struct Summary {
    notes: Vec<String>,
    cases: usize,
    failures: usize,
    wrong: u64,
}

impl Summary {
    /// Books a finished case and makes its row: `first`, then the cells of its numbers or the reason of there being none.
    fn add(
        &mut self,
        case: &str,
        first: [String; 2],
        finished: Finished,
        cells: fn(&Numbers) -> Vec<String>,
    ) -> Vec<String> {
        self.cases += 1;
        self.notes
            .extend(finished.notes.iter().map(|note| format!("{case}: {note}")));
        let mut row = first.to_vec();
        match finished.outcome {
            Outcome::Measured(numbers) => {
                self.wrong += numbers.get("wrong");
                row.truncate(1);
                row.extend(cells(&numbers));
            }
            Outcome::Unavailable(why) => row.push(format!("n/a: {why}")),
            Outcome::Failed(why) => {
                self.failures += 1;
                row.push(format!("FAILED: {why}"));
            }
        }
        row
    }

    fn print(&self) -> bool {
        for note in &self.notes {
            println!("note: {note}");
        }
        match (self.failures, self.wrong) {
            (0, 0) => println!("Every reply was checked; none was wrong."),
            (failures, wrong) => println!(
                "{failures} of {} cases failed, {wrong} replies were wrong.",
                self.cases
            ),
        }
        self.failures == 0 && self.wrong == 0
    }
}

fn served_cells(numbers: &Numbers) -> Vec<String> {
    let requests = numbers.get("requests") as f64;
    let seconds = numbers.get("elapsed_ns") as f64 / 1e9;
    vec![
        grouped(numbers.get("connections")),
        grouped((requests / seconds) as u64),
        duration(numbers.get("p50_ns")),
        duration(numbers.get("p99_ns")),
        grouped(numbers.get("threads")),
        mebibytes(numbers.get("rss_bytes")),
        format!("{:.2}", numbers.get("cpu_ns") as f64 / 1e3 / requests),
        grouped(numbers.get("wrong")),
    ]
}

fn parked_cells(numbers: &Numbers) -> Vec<String> {
    let each = |name| grouped(numbers.get(name) / numbers.get("parked").max(1));
    vec![
        grouped(numbers.get("parked")),
        each("parked_rss_bytes"),
        each("page_table_bytes"),
        grouped(numbers.get("mappings")),
        grouped(numbers.get("threads")),
        duration(numbers.get("spawn_ns")),
        duration(numbers.get("wake_ns")),
        grouped(numbers.get("wrong")),
    ]
}
