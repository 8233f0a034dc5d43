//! `stress [--seconds 60] [--seed N] [--coroutines 100000] [--workers N] [--light] [kind…]`: rounds until the time is
//! up. Exit status 1 when something did not hold; the seed is printed first and last.

use silken_stress::{Options, run};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const USAGE: &str = "usage: stress [--seconds S] [--seed N] [--coroutines N] [--workers N] [--light] [kind of wait…]";

fn main() -> ExitCode {
    let options = match parse(lexopt::Parser::from_env()) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    println!("seed {}", options.seed);
    match run(&options) {
        Ok(summary) => {
            println!("passed: {summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("FAILED, seed {}: {error}", options.seed);
            ExitCode::FAILURE
        }
    }
}

fn parse(mut words: lexopt::Parser) -> Result<Options, lexopt::Error> {
    use lexopt::prelude::*;
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut options = Options {
        time: Duration::from_secs(60),
        seed: u64::from(clock.subsec_nanos()) ^ clock.as_secs(),
        coroutines: 100_000,
        workers: None,
        light: false,
        kinds: Vec::new(),
        prints: true,
    };
    while let Some(word) = words.next()? {
        match word {
            Long("seconds") => options.time = Duration::from_secs(words.value()?.parse()?),
            Long("seed") => options.seed = words.value()?.parse()?,
            Long("coroutines") => options.coroutines = words.value()?.parse()?,
            Long("workers") => options.workers = Some(words.value()?.parse()?),
            Long("light") => options.light = true,
            Value(kind) => options.kinds.push(kind.string()?),
            _ => return Err(word.unexpected()),
        }
    }
    Ok(options)
}
