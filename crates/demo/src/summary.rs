//! From the ends of the cases to rows, notes and a verdict.
//!
//! A case that a limit of this machine forbids is told but is no failure; a wrong reply or a case without a result is.

use crate::child::{Finished, Outcome};
use crate::report::Numbers;
use crate::table::{duration, grouped, mebibytes};

/// What is to be said beside the numbers, and whether all was well.
#[derive(Default)]
pub struct Summary {
    notes: Vec<String>,
    cases: usize,
    unavailable: usize,
    failures: usize,
    wrong: u64,
}

impl Summary {
    /// Books a finished case and makes its row: `first`, then the cells of its numbers or the reason of there being
    /// none.
    pub fn add(
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
            Outcome::Unavailable(why) => {
                self.unavailable += 1;
                row.push(format!("n/a: {why}"));
            }
            Outcome::Failed(why) => {
                self.failures += 1;
                row.push(format!("FAILED: {why}"));
            }
        }
        row
    }

    /// Prints the notes and the verdict, and returns it: true if nothing was wrong.
    pub fn print(&self) -> bool {
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

/// The cells of a serving case.
pub fn served_cells(numbers: &Numbers) -> Vec<String> {
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

/// The cells of a parking case.
pub fn parked_cells(numbers: &Numbers) -> Vec<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(outcome: Outcome) -> (Vec<String>, bool) {
        let mut summary = Summary::default();
        let finished = Finished {
            outcome,
            notes: Vec::new(),
        };
        let first = ["threads".to_owned(), "9".to_owned()];
        let row = summary.add("case", first, finished, |_| vec!["8".to_owned()]);
        (row, summary.print())
    }

    #[test]
    fn only_wrong_replies_and_failures_spoil_the_verdict() {
        let measured = |wrong| Outcome::Measured(Numbers::default().with("wrong", wrong));
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        assert_eq!(verdict(measured(0)), (row(["threads", "8"]), true));
        assert_eq!(verdict(measured(1)), (row(["threads", "8"]), false));
        let (cells, well) = verdict(Outcome::Unavailable("why".to_owned()));
        assert_eq!((cells[2].as_str(), well), ("n/a: why", true));
        let (cells, well) = verdict(Outcome::Failed("why".to_owned()));
        assert_eq!((cells[2].as_str(), well), ("FAILED: why", false));
    }
}
