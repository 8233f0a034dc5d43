//! Coroutines in every kind of wait, cancelled and timed out at random moments: nothing may be lost, and nothing left
//! behind.
//!
//! | file | answers |
//! |---|---|
//! | `plan` | what a round does, drawn from the seed |
//! | `waits/` | the kinds of waits, and what must hold at each |
//! | `round` | how they are started, interrupted, released and reckoned up |
//! | `ledger` | the tokens and flows that must balance |
//! | `light` | the one unsafe call, for light runtimes |
//! | `watch` | memory, descriptors, and the watchdog |

#![deny(unsafe_code)]

pub mod ledger;
mod light;
pub mod plan;
pub mod round;
pub mod waits;
pub mod watch;

use plan::Rng;
use round::Figures;
use std::sync::Arc;
use std::time::{Duration, Instant};
use waits::{KINDS, Kind};
use watch::{Board, Usage};

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long rounds are begun.
    pub time: Duration,
    /// What everything is drawn from.
    pub seed: u64,
    /// How many wait at once in a still round.
    pub coroutines: usize,
    /// Workers of the runtime; the machine's default if `None`.
    pub workers: Option<usize>,
    /// Light coroutines instead of isolated ones.
    pub light: bool,
    /// Names of kinds of waits; all if empty.
    pub kinds: Vec<String>,
    /// Prints progress.
    pub prints: bool,
}

/// What a run has done.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Rounds played.
    pub rounds: usize,
    /// Their sum, except for `waited_at_once`, which is the most.
    pub total: Figures,
    /// What was compared of the process's memory and descriptors.
    pub usage: String,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let total = &self.total;
        write!(
            f,
            "{} rounds, {} coroutines, at most {} waiting at once; {} cancelled, {} timed out; {} tokens; {}",
            self.rounds,
            total.coroutines,
            total.waited_at_once,
            total.cancelled,
            total.timed_out,
            total.tokens,
            self.usage
        )
    }
}

impl Summary {
    fn add(&mut self, round: &Figures) {
        let total = &mut self.total;
        self.rounds += 1;
        total.coroutines += round.coroutines;
        total.waited_at_once = total.waited_at_once.max(round.waited_at_once);
        total.cancelled += round.cancelled;
        total.timed_out += round.timed_out;
        total.tokens += round.tokens;
    }
}

/// How long coroutines may take to end when the runtime is shut down: there should be none.
const PATIENCE: Duration = Duration::from_secs(5);
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// Plays rounds until the time is up.
///
/// # Errors
/// What did not hold.
pub fn run(options: &Options) -> Result<Summary, String> {
    let kinds = chosen_kinds(options)?;
    let mut builder = silken::Runtime::builder();
    if let Some(workers) = options.workers {
        builder = builder.workers(workers);
    }
    if options.light {
        builder = light::of(builder);
    }
    let runtime = builder
        .build()
        .map_err(|error| format!("the runtime does not start: {error}"))?;
    let board = Arc::new(Board::new(kinds.len()));
    let names = kinds.iter().map(|kind| kind.name).collect();
    let watchdog = watch::start_watchdog(board.clone(), names, options.seed);
    let rounds = runtime.spawn({
        let (options, board) = (options.clone(), board.clone());
        move || play_rounds(&options, &kinds, &board)
    });
    let outcome = rounds
        .join()
        .unwrap_or_else(|error| Err(format!("the rounds: {error}")));
    board.finish();
    watchdog.join().expect("the watchdog does not panic");
    let left = runtime.shutdown(PATIENCE).left.len();
    match outcome {
        Ok(_) if left > 0 => Err(format!("{left} coroutines are left")),
        outcome => outcome,
    }
}

fn chosen_kinds(options: &Options) -> Result<Vec<&'static Kind>, String> {
    let fits = |kind: &&Kind| !(options.light && kind.isolated_only);
    if options.kinds.is_empty() {
        return Ok(KINDS.iter().filter(fits).collect());
    }
    let find = |name: &String| {
        let kind = KINDS.iter().filter(fits).find(|kind| kind.name == name);
        kind.ok_or_else(|| {
            let known: Vec<_> = KINDS.iter().filter(fits).map(|kind| kind.name).collect();
            format!("there is no kind of wait {name} among: {}", known.join(" "))
        })
    };
    options.kinds.iter().map(find).collect()
}

fn play_rounds(options: &Options, kinds: &[&'static Kind], board: &Arc<Board>) -> Result<Summary, String> {
    let begun = Instant::now();
    let mut told = begun;
    let mut summary = Summary::default();
    let mut usage = Vec::new();
    let mut rng = Rng::new(options.seed);
    while begun.elapsed() < options.time {
        // Both kinds alternate, so that all quarters of the run have the same mixture.
        let still = summary.rounds.is_multiple_of(2);
        let name = format!("round {} ({})", summary.rounds, if still { "still" } else { "moving" });
        board.begin_round(&name);
        let round = round::play(rng.fork(), options.coroutines, still, kinds, board);
        let round = round.map_err(|error| format!("{name}: {error}"))?;
        summary.add(&round);
        usage.push(Usage::now());
        if options.prints && told.elapsed() >= PROGRESS_EVERY {
            told = Instant::now();
            let now = usage.last().copied().unwrap_or_default();
            println!("{:>4} s: {name}: {round:?} {now:?}", begun.elapsed().as_secs());
        }
    }
    summary.usage = watch::check_flat(&usage)?;
    Ok(summary)
}
