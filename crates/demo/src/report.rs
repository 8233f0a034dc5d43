//! What a child tells its parent, one line each on standard output.
//!
//! `progress text` · `note text` (goes under the table) · then one of `result key=value …`, `unavailable why`
//! (this machine cannot run the case: not an error), `failed why`.

use std::collections::BTreeMap;
use std::fmt;

/// One line of a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// For the progress line.
    Progress(String),
    /// For the foot of the table.
    Note(String),
    /// The numbers of a case that ran.
    Result(Numbers),
    /// Why the case cannot be run here.
    Unavailable(String),
    /// What went wrong.
    Failed(String),
}

/// Named whole numbers; times in nanoseconds, sizes in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers(BTreeMap<String, u64>);

impl Numbers {
    /// Adds one.
    pub fn with(mut self, name: &str, value: u64) -> Numbers {
        self.0.insert(name.to_owned(), value);
        self
    }

    /// Raises one, or adds it.
    pub fn at_least(self, name: &str, value: u64) -> Numbers {
        let value = value.max(self.get(name));
        self.with(name, value)
    }

    /// The number of that name; a name that was never sent is 0.
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Line::Progress(text) => write!(out, "progress {text}"),
            Line::Note(text) => write!(out, "note {text}"),
            Line::Unavailable(text) => write!(out, "unavailable {text}"),
            Line::Failed(text) => write!(out, "failed {text}"),
            Line::Result(numbers) => {
                write!(out, "result")?;
                numbers
                    .0
                    .iter()
                    .try_for_each(|(name, value)| write!(out, " {name}={value}"))
            }
        }
    }
}

/// Reads a line of a child; `None` if it is not one.
pub fn parse(line: &str) -> Option<Line> {
    let (kind, text) = line.split_once(' ')?;
    let owned = text.to_owned();
    match kind {
        "progress" => Some(Line::Progress(owned)),
        "note" => Some(Line::Note(owned)),
        "unavailable" => Some(Line::Unavailable(owned)),
        "failed" => Some(Line::Failed(owned)),
        "result" => {
            let number = |pair: &str| {
                let (name, value) = pair.split_once('=')?;
                Some((name.to_owned(), value.parse().ok()?))
            };
            text.split(' ')
                .map(number)
                .collect::<Option<_>>()
                .map(|pairs| Line::Result(Numbers(pairs)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_survive_the_pipe() {
        let numbers = Numbers::default().with("wrong", 0).with("rss_bytes", u64::MAX);
        let numbers = numbers.at_least("rss_bytes", 5).at_least("threads", 2);
        assert_eq!((numbers.get("rss_bytes"), numbers.get("threads")), (u64::MAX, 2));
        let lines = [
            Line::Result(numbers),
            Line::Progress("3 of 4".to_owned()),
            Line::Note("a=b c".to_owned()),
            Line::Unavailable("no".to_owned()),
            Line::Failed("why: so".to_owned()),
        ];
        for line in lines {
            assert_eq!(parse(&line.to_string()), Some(line));
        }
    }

    #[test]
    fn other_lines_are_not_taken_for_results() {
        for line in [
            "",
            "result",
            "result wrong",
            "result wrong=x",
            "results wrong=1",
            "thread panicked",
        ] {
            assert_eq!(parse(line), None, "{line:?}");
        }
    }
}
