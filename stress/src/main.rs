//! `stress [--seconds 60] [--seed N] [--coroutines 100000] [--workers N] [--light] [kind…]`: rounds until the time is
//! up. Exit status 1 when something did not hold; the seed is printed first and last.

use silken_stress::{Options, run};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const USAGE: &str = "usage: stress [--seconds S] [--seed N] [--coroutines N] [--workers N] [--light] [kind of wait…]";

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
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

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
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
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} wants a number"));
        match argument.as_str() {
            "--seconds" => options.time = Duration::from_secs(number(&value()?)?),
            "--seed" => options.seed = number(&value()?)?,
            "--coroutines" => options.coroutines = number(&value()?)?,
            "--workers" => options.workers = Some(number(&value()?)?),
            "--light" => options.light = true,
            flag if flag.starts_with('-') => return Err(format!("{flag} is not known")),
            kind => options.kinds.push(kind.to_string()),
        }
    }
    Ok(options)
}

fn number<N: FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("{text} is not a number"))
}
