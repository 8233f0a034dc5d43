//! What is a figure? A number about one behaviour, the contestants that produce it, and the samples that they give.
//!
//! Types only: everything else in this program imports this file, and it imports nothing of theirs. `rounds` runs a
//! figure, `catalogue` lists them all.
//!
//! The protocol between parent and child is text on the child's standard output: one `key value` pair a line, the first
//! being the figure itself, the others its companions (percentiles, throughput).

use std::process::{Command, Stdio};

/// What one child measured: pairs in the order of printing, the figure first. Companions whose key ends in `_max` are
/// reduced over the rounds to their maximum, all else to the median.
pub type Sample = Vec<(String, f64)>;

/// A sample of the figure alone.
pub fn sample(value: f64) -> Sample {
    vec![("value".to_owned(), value)]
}

/// What the user asked for; handed on to the children.
#[derive(Clone, Debug)]
pub struct Options {
    /// Three rounds and short windows instead of five and long ones.
    pub quick: bool,
    /// Print the names of the figures only.
    pub list: bool,
    /// Print each sample to standard error.
    pub samples: bool,
    /// How many coroutines the memory and timer figures hold at once.
    pub coroutines: usize,
    names: Vec<String>,
}

impl Options {
    /// Reads the command line.
    pub fn parse(mut words: lexopt::Parser) -> Result<Options, lexopt::Error> {
        use lexopt::prelude::*;
        let mut options = Options {
            quick: false,
            list: false,
            samples: false,
            coroutines: 1_000_000,
            names: Vec::new(),
        };
        while let Some(word) = words.next()? {
            match word {
                Long("quick") => options.quick = true,
                Long("list") => options.list = true,
                Long("samples") => options.samples = true,
                Long("coroutines") => options.coroutines = words.value()?.parse()?,
                Value(name) => options.names.push(name.string()?),
                _ => return Err(word.unexpected()),
            }
        }
        Ok(options)
    }

    /// What a child is told of them.
    pub fn for_child(&self) -> [String; 2] {
        [self.quick.to_string(), self.coroutines.to_string()]
    }

    /// Reads what [`for_child`](Self::for_child) wrote.
    pub fn of_parent(words: &[String]) -> Option<Options> {
        let [quick, coroutines] = words else { return None };
        Some(Options {
            quick: quick.parse().ok()?,
            list: false,
            samples: false,
            coroutines: coroutines.parse().ok()?,
            names: Vec::new(),
        })
    }

    /// Whether the figure of this name was asked for.
    pub fn selects(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|wanted| name.contains(wanted.as_str()))
    }

    /// How often every contestant runs.
    pub fn rounds(&self) -> usize {
        if self.quick { 3 } else { 5 }
    }
}

/// How a contestant is run.
#[derive(Clone, Copy)]
pub enum Subject {
    /// Measures itself and gives the sample.
    Process(fn(&Options) -> Sample),
    /// An echo server that never returns; the load generator measures it from outside.
    Server(fn()),
}

/// A program that produces the figure.
pub struct Contestant {
    /// Name in the printed line, such as `floor corosensei`.
    pub label: &'static str,
    /// What its child runs.
    pub subject: Subject,
}

/// What silken aims for.
#[derive(Clone, Copy)]
pub enum Goal {
    /// The figure itself has a ceiling.
    AtMost(f64),
    /// The ceiling is a multiple of the first contestant that is not silken.
    TimesFloor(f64),
    /// No goal was set.
    Open,
}

/// One number about one behaviour, and who produces it.
pub struct Figure {
    /// Path-like name.
    pub name: &'static str,
    /// Unit of the figure.
    pub unit: &'static str,
    /// Pin the child to one CPU: the figure speaks of one worker.
    pub one_cpu: bool,
    /// Connections, where the figure is an echo.
    pub connections: usize,
    /// What silken aims for.
    pub goal: Goal,
    /// Silken first where it takes part, then the floor, then the peers.
    pub contestants: Vec<Contestant>,
}

/// A figure without silken, which the catalogue adds.
pub fn figure(name: &'static str, unit: &'static str, one_cpu: bool, goal: Goal, others: Vec<Contestant>) -> Figure {
    Figure {
        name,
        unit,
        one_cpu,
        connections: 0,
        goal,
        contestants: others,
    }
}

/// A contestant that is measured in a process of its own.
pub fn process(label: &'static str, measure: fn(&Options) -> Sample) -> Contestant {
    Contestant {
        label,
        subject: Subject::Process(measure),
    }
}

/// A contestant that serves while the load generator measures it.
pub fn server(label: &'static str, serve: fn()) -> Contestant {
    Contestant {
        label,
        subject: Subject::Server(serve),
    }
}

impl Figure {
    /// The command that runs one contestant of this figure in a child.
    pub fn child_command(&self, contestant: &Contestant, options: &Options) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.args(["--child", self.name, contestant.label]);
        command.args(options.for_child());
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }
}

/// Prints a sample as the parent expects it.
pub fn print_sample(sample: &[(String, f64)]) {
    for (key, value) in sample {
        println!("{key} {value}");
    }
}

/// Reads what [`print_sample`] wrote; `None` if there is nothing in it.
pub fn parse_sample(text: &str) -> Option<Sample> {
    let sample: Sample = text
        .lines()
        .filter_map(|line| {
            let (key, value) = line.split_once(' ')?;
            Some((key.to_owned(), value.parse().ok()?))
        })
        .collect();
    (!sample.is_empty()).then_some(sample)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_survives_the_pipe() {
        assert_eq!(
            parse_sample("value 2.5\np99_us 7\n").map(|sample| sample.len()),
            Some(2)
        );
        assert_eq!(parse_sample(""), None);
    }

    #[test]
    fn options_select_by_part_of_the_name_and_reach_the_child() {
        let parse = |words: &'static [&'static str]| Options::parse(lexopt::Parser::from_args(words));
        let options = parse(&["--quick", "--coroutines=7", "yield"]).expect("valid");
        assert!(options.quick && options.selects("yield/light/one-site") && !options.selects("echo/100"));
        let child = Options::of_parent(&options.for_child()).expect("two words");
        assert!(child.quick && child.coroutines == 7);
        assert!(parse(&["--no-such"]).is_err() && parse(&["--coroutines", "x"]).is_err());
    }
}
