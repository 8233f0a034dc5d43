//! How does a figure come about? In rounds of child processes, reduced to one printed line.
//!
//! A child that fails, or that its alarm ends, gives no sample; the figure then says `failed` for that contestant
//! instead of hiding it.

use crate::figure::{Contestant, Figure, Goal, Options, Sample, Subject, parse_sample, print_sample};
use crate::{echo, machine};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;

/// Share of the machine used by others from which a line says so: a figure taken on a busy machine is no result.
const DISTURBED_PERCENT_MIN: f64 = 5.0;

/// Spread over the rounds from which a line shows it.
const SPREAD_PERCENT_MIN: f64 = 2.0;

impl Figure {
    /// Runs all rounds and gives the line that reports them.
    pub fn run(&self, options: &Options) -> String {
        let mut samples: Vec<Vec<Sample>> = self.contestants.iter().map(|_| Vec::new()).collect();
        let bystanders = machine::Bystanders::now();
        for _ in 0..options.rounds() {
            for (contestant, kept) in self.contestants.iter().zip(&mut samples) {
                let measured = match contestant.subject {
                    Subject::Process(_) => self.measure(contestant, options),
                    Subject::Server(_) => echo::measure(self, contestant, options),
                };
                if options.samples {
                    eprintln!("{} {} {measured:?}", self.name, contestant.label);
                }
                kept.extend(measured);
            }
        }
        let reduced: Vec<Option<Sample>> = samples.iter().map(|rounds| reduce(rounds)).collect();
        let disturbed = bystanders.percent_since();
        let spreads: Vec<f64> = samples.iter().map(|rounds| spread_percent(rounds)).collect();
        let mut line = self.report(&reduced, &spreads);
        if disturbed > DISTURBED_PERCENT_MIN {
            let _ = write!(line, "  DISTURBED: others used {disturbed:.0} % of the machine");
        }
        line
    }

    fn measure(&self, contestant: &Contestant, options: &Options) -> Option<Sample> {
        let output = self.child_command(contestant, options).output().ok()?;
        if output.status.success() {
            parse_sample(&String::from_utf8_lossy(&output.stdout))
        } else {
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
            eprintln!("bench: {} of {}: {}", contestant.label, self.name, output.status);
            None
        }
    }

    /// The base of all ratios: the first contestant that is not silken.
    fn base(&self, reduced: &[Option<Sample>]) -> Option<(usize, f64)> {
        let index = self
            .contestants
            .iter()
            .position(|contestant| contestant.label != "silken")?;
        Some((index, reduced[index].as_ref()?.first()?.1))
    }

    fn report(&self, reduced: &[Option<Sample>], spreads: &[f64]) -> String {
        let base = self.base(reduced);
        let mut line = format!("{:<28}", self.name);
        for (index, (contestant, sample)) in self.contestants.iter().zip(reduced).enumerate() {
            let Some([(_, value), companions @ ..]) = sample.as_deref() else {
                let _ = write!(line, "  {} failed", contestant.label);
                continue;
            };
            let _ = write!(line, "  {} {} {}", contestant.label, rounded(*value), self.unit);
            if spreads[index] > SPREAD_PERCENT_MIN {
                let _ = write!(line, " ±{:.0} %", spreads[index]);
            }
            if let Some((at, floor)) = base
                && at != index
                && floor > 0.0
            {
                let _ = write!(line, " (ratio {:.2})", value / floor);
            }
            if !companions.is_empty() {
                let pairs: Vec<String> = companions
                    .iter()
                    .map(|(key, value)| format!("{key} {}", rounded(*value)))
                    .collect();
                let _ = write!(line, " [{}]", pairs.join(", "));
            }
        }
        line + &self.verdict(reduced, base.map(|(_, floor)| floor))
    }

    fn verdict(&self, reduced: &[Option<Sample>], floor: Option<f64>) -> String {
        let (text, ceiling) = match self.goal {
            Goal::Open => return String::new(),
            Goal::AtMost(ceiling) => (format!("  goal ≤ {} {}", rounded(ceiling), self.unit), Some(ceiling)),
            Goal::TimesFloor(factor) => (format!("  goal ratio ≤ {factor}"), floor.map(|floor| floor * factor)),
        };
        let takes_part = self
            .contestants
            .first()
            .is_some_and(|contestant| contestant.label == "silken");
        let value = reduced.first().and_then(|sample| Some(sample.as_ref()?.first()?.1));
        match (takes_part, value, ceiling) {
            (true, Some(value), Some(ceiling)) if value <= ceiling => text + ", met",
            (true, Some(_), Some(_)) => text + ", missed",
            _ => text,
        }
    }
}

/// Entry of a child: finds its contestant among the figures by name, measures, prints the sample.
pub fn child(figures: &[Figure], arguments: &[String]) -> ExitCode {
    machine::bound_child();
    let [name, label, options @ ..] = arguments else {
        return ExitCode::from(2);
    };
    let Some(options) = Options::of_parent(options) else {
        return ExitCode::from(2);
    };
    let found = figures.iter().find(|figure| figure.name == name).and_then(|figure| {
        let contestant = figure.contestants.iter().find(|contestant| contestant.label == label)?;
        Some((figure, contestant))
    });
    let Some((figure, contestant)) = found else {
        return ExitCode::from(2);
    };
    if figure.one_cpu {
        machine::pin_to_cpu(0);
    }
    match contestant.subject {
        Subject::Process(measure) => print_sample(&measure(&options)),
        Subject::Server(serve) => {
            machine::raise_file_limit();
            serve();
        }
    }
    ExitCode::SUCCESS
}

fn reduce(rounds: &[Sample]) -> Option<Sample> {
    let mut values: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (key, value) in rounds.iter().flatten() {
        values.entry(key).or_default().push(*value);
    }
    let reduced = rounds.first()?.iter().map(|(key, _)| {
        let column = values.get_mut(key.as_str()).map(std::mem::take).unwrap_or_default();
        let value = if key.ends_with("_max") {
            column.iter().copied().fold(f64::NEG_INFINITY, f64::max)
        } else {
            median(column)
        };
        (key.clone(), value)
    });
    Some(reduced.collect())
}

/// Half the distance between the extreme rounds, in percent of the median: differences below it mean nothing.
fn spread_percent(rounds: &[Sample]) -> f64 {
    let values: Vec<f64> = rounds.iter().filter_map(|sample| Some(sample.first()?.1)).collect();
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if least < most {
        50.0 * (most - least) / median(values)
    } else {
        0.0
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        (values[middle - 1] + values[middle]) / 2.0
    }
}

/// Three significant digits are what such measurements carry.
fn rounded(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::sample;

    #[test]
    fn median_is_the_middle_or_the_mean_of_two() {
        assert_eq!(median(vec![9.0, 1.0, 5.0]), 5.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 9.0]), 3.0);
    }

    #[test]
    fn spread_is_half_the_range_over_the_median() {
        let rounds: Vec<Sample> = [8.0, 10.0, 14.0].map(sample).to_vec();
        assert_eq!(spread_percent(&rounds), 30.0);
        assert_eq!(spread_percent(&rounds[..1]), 0.0);
    }

    #[test]
    fn maxima_are_not_hidden_by_the_median() {
        let rounds: Vec<Sample> = [0.0, 0.0, 7.0]
            .iter()
            .map(|early| vec![("value".to_owned(), 1.0 + early), ("early_max".to_owned(), *early)])
            .collect();
        let reduced = reduce(&rounds).expect("three rounds");
        assert_eq!(reduced, vec![("value".to_owned(), 1.0), ("early_max".to_owned(), 7.0)]);
    }
}
