//! What is asked of a run on the command line, and, hidden, what a parent asks of its child?

use lexopt::prelude::*;
use std::time::Duration;

/// What `--help` prints.
pub const HELP: &str = "\
Runs one std-only program (a TCP store and its clients) on threads and on coroutines and compares them,
then parks many coroutines and weighs them.

Usage: demo [options]

  --connections A,B,C   numbers of connections           [100,1000,10000]
  --requests N          requests of each case, in all    [400000, and no case longer than 8 s]
  --parked N            coroutines to park, 0 for none   [1000000]
  --engine NAME         threads, coroutines or both      [both]
  --help                this text

Both ends of every connection live in one process. Ends with 1 if a reply was wrong or a case failed, with 2 if the
arguments were; what this machine's limits do not allow is made smaller, or left out, and said.
";

/// One of the two engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineName {
    /// `std::thread`.
    Threads,
    /// silken.
    Coroutines,
}

/// What a child does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Serve so many connections.
    Serve(usize),
    /// Park so many.
    Park(usize),
}

/// A parsed command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args {
    /// Numbers of connections, one case each.
    pub connections: Vec<usize>,
    /// Requests of a case.
    pub requests: u64,
    /// Longest time of a case; none if the number of requests was asked for.
    pub budget: Option<Duration>,
    /// How many to park.
    pub parked: usize,
    /// Who runs the cases.
    pub engines: Vec<EngineName>,
    /// `--help` was among them.
    pub help: bool,
    /// Hidden, `--child serve:N` or `--child park:N`: do this one thing.
    pub child: Option<Task>,
    /// Hidden, `--corrupt-request N`: the server spoils the reply to the n-th request.
    pub corrupt_request: Option<u64>,
}

impl EngineName {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            EngineName::Threads => "threads",
            EngineName::Coroutines => "coroutines",
        }
    }
}

/// Reads the command line.
pub fn parse(mut words: lexopt::Parser) -> Result<Args, lexopt::Error> {
    let mut args = Args {
        connections: vec![100, 1_000, 10_000],
        requests: 400_000,
        budget: Some(Duration::from_secs(8)),
        parked: 1_000_000,
        engines: vec![EngineName::Threads, EngineName::Coroutines],
        help: false,
        child: None,
        corrupt_request: None,
    };
    let list = |word: &str| word.split(',').map(number).collect::<Result<Vec<_>, _>>();
    while let Some(word) = words.next()? {
        match word {
            Long("connections") => args.connections = words.value()?.parse_with(list)?,
            Long("requests") => (args.requests, args.budget) = (words.value()?.parse_with(number)? as u64, None),
            Long("parked") => args.parked = words.value()?.parse_with(number_or_zero)?,
            Long("engine") => args.engines = words.value()?.parse_with(engines)?,
            Long("child") => args.child = Some(words.value()?.parse_with(task)?),
            Long("corrupt-request") => args.corrupt_request = Some(words.value()?.parse()?),
            Short('h') | Long("help") => args.help = true,
            _ => return Err(word.unexpected()),
        }
    }
    Ok(args)
}

impl Args {
    /// The arguments of the child that does `task` on `engine`.
    pub fn for_child(&self, engine: EngineName, task: Task) -> Vec<String> {
        let task = match task {
            Task::Serve(connections) => format!("serve:{connections}"),
            Task::Park(count) => format!("park:{count}"),
        };
        let mut words = vec![format!("--child={task}"), format!("--engine={}", engine.name())];
        if self.budget.is_none() {
            words.push(format!("--requests={}", self.requests));
        }
        words.extend(
            self.corrupt_request
                .map(|request| format!("--corrupt-request={request}")),
        );
        words
    }
}

fn engines(word: &str) -> Result<Vec<EngineName>, String> {
    match word {
        "threads" => Ok(vec![EngineName::Threads]),
        "coroutines" => Ok(vec![EngineName::Coroutines]),
        "both" => Ok(vec![EngineName::Threads, EngineName::Coroutines]),
        _ => Err("there are threads, coroutines and both".to_owned()),
    }
}

fn task(word: &str) -> Result<Task, String> {
    match word.split_once(':') {
        Some(("serve", count)) => number(count).map(Task::Serve),
        Some(("park", count)) => number(count).map(Task::Park),
        _ => Err("not a task".to_owned()),
    }
}

fn number(word: &str) -> Result<usize, String> {
    match number_or_zero(word)? {
        0 => Err("0 is too small".to_owned()),
        number => Ok(number),
    }
}

/// Thousands may be set apart by `_`, as in Rust.
fn number_or_zero(word: &str) -> Result<usize, String> {
    word.replace('_', "").parse().map_err(|_| "not a number".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Args, lexopt::Error> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(lexopt::Parser::from_args(words))
    }

    #[test]
    fn values_are_read_and_mistakes_are_told() {
        let args = parsed("--connections 5,7 --requests=1_000 --parked 0 --engine coroutines").unwrap();
        assert_eq!(
            (args.connections, args.requests, args.budget),
            (vec![5, 7], 1_000, None)
        );
        assert_eq!((args.parked, args.engines), (0, vec![EngineName::Coroutines]));
        assert!(parsed("--parked 3 --help").unwrap().help);
        for line in [
            "--connections",
            "--connections 1,x",
            "--connections 0",
            "--engine go",
            "--nope",
            "7",
            "--requests 0",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_child_understands_its_parent() {
        let args = parsed("--requests 80 --corrupt-request 3").unwrap();
        let child = parsed(&args.for_child(EngineName::Threads, Task::Serve(9)).join(" ")).unwrap();
        assert_eq!(
            (child.child, child.engines),
            (Some(Task::Serve(9)), vec![EngineName::Threads])
        );
        assert_eq!(
            (child.requests, child.budget, child.corrupt_request),
            (80, None, Some(3))
        );
        let args = parsed("").unwrap();
        let child = parsed(&args.for_child(EngineName::Coroutines, Task::Park(4)).join(" ")).unwrap();
        assert_eq!((child.child, child.budget), (Some(Task::Park(4)), args.budget));
    }
}
