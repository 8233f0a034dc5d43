//! What do threads and coroutines cost, when they run the same std-only program?
//!
//! | file | answers |
//! |---|---|
//! | `store.rs`, `clients.rs` | the program: a TCP store and those who ask it; they know neither engine |
//! | `engine.rs` | the two engines |
//! | `park.rs` | what a parked thread or coroutine weighs |
//! | `case.rs` | one measurement, in a process of its own |
//! | `measure.rs` | what `/proc` says of a process and of the machine |
//! | `args.rs`, `table.rs` | the command line, the printed table |
//!
//! For each number of connections and each engine this program starts itself as a child, which serves, asks, checks
//! every reply and prints the row. The tables go to standard output; what is being done goes to standard error.

#![forbid(unsafe_code)]

mod args;
mod case;
mod clients;
mod engine;
mod measure;
mod park;
mod store;
mod table;

use args::{Args, EngineName, Task};
use case::Outcome;
use std::process::ExitCode;
use table::{Table, grouped};

fn main() -> ExitCode {
    let args = match args::parse(lexopt::Parser::from_env()) {
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
        return case::child(&args, task);
    }
    if compare(&args) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs all cases and prints the tables. True if nothing was wrong.
fn compare(args: &Args) -> bool {
    let mut verdict = Verdict::default();
    let mut served = Table::new(&case::SERVED);
    for &connections in &args.connections {
        for &engine in &args.engines {
            served.row(verdict.case(args, engine, Task::Serve(connections)));
        }
    }
    println!(
        "One std-only TCP store and its clients, both ends in one process:\n\n{}",
        served.render()
    );
    if args.parked > 0 {
        let mut parked = Table::new(&case::PARKED);
        for &engine in &args.engines {
            parked.row(verdict.case(args, engine, Task::Park(args.parked)));
        }
        println!("Parked at once:\n\n{}", parked.render());
    }
    verdict.print()
}

/// What is to be said beside the numbers, and whether all was well. A case that a limit of this machine forbids is no
/// failure; a wrong reply or a case without a result is.
#[derive(Default)]
struct Verdict {
    notes: Vec<String>,
    cases: usize,
    unavailable: usize,
    failures: usize,
    wrong: u64,
}

impl Verdict {
    /// Runs a case; its row.
    fn case(&mut self, args: &Args, engine: EngineName, task: Task) -> Vec<String> {
        let (size, label) = match task {
            Task::Serve(connections) => (grouped(connections as u64), "connections"),
            Task::Park(count) => (grouped(count as u64), "parked"),
        };
        let label = format!("{}, {size} {label}", engine.name());
        eprintln!("{label} …");
        let case = case::run(args, engine, task);
        self.cases += 1;
        self.notes
            .extend(case.notes.iter().map(|note| format!("{label}: {note}")));
        let mut row = vec![engine.name().to_owned()];
        match case.outcome {
            Outcome::Measured(cells) => {
                let wrong = cells.last().and_then(|cell| cell.replace(',', "").parse::<u64>().ok());
                self.wrong += wrong.unwrap_or(0);
                row.extend(cells);
            }
            Outcome::Unavailable(why) => {
                self.unavailable += 1;
                row.extend([size, format!("n/a: {why}")]);
            }
            Outcome::Failed(why) => {
                self.failures += 1;
                row.extend([size, format!("FAILED: {why}")]);
            }
        }
        row
    }

    fn print(&self) -> bool {
        for note in &self.notes {
            println!("note: {note}");
        }
        if self.unavailable > 0 {
            println!("{} of {} cases could not be run here.", self.unavailable, self.cases);
        }
        match (self.failures, self.wrong) {
            (0, 0) if self.unavailable == self.cases => println!("Nothing was run."),
            (0, 0) => println!("Every reply was checked; none was wrong."),
            (failures, wrong) => println!("{failures} of {} cases failed, {wrong} replies were wrong.", self.cases),
        }
        self.failures == 0 && self.wrong == 0
    }
}
