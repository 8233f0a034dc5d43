//! One case, in a process of its own: so its memory, threads and processor time are its own.
//!
//! The case itself runs on the engine under test, from its first job on. The main thread only samples the process and
//! writes progress; it is there in both engines, so the thread column counts it in both.

use crate::args::{Args, EngineName, Task};
use crate::clients::{Crowd, Plan, ROUND_REQUESTS};
use crate::engine::{Coroutines, Engine, Threads, spawner};
use crate::limits;
use crate::measure::{Peak, cpu_ns};
use crate::park::{self, Stage};
use crate::report::{Line, Numbers};
use crate::store_server::{Report, Server};
use crate::table::grouped;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

const SAMPLE: Duration = Duration::from_millis(20);
const PROGRESS: Duration = Duration::from_millis(250);
/// A parked coroutine, its page tables and what the kernel keeps, rounded up.
const COROUTINE_BYTES: u64 = 10 * 1024;
/// A thread, with its kernel stack.
const THREAD_BYTES: u64 = 40 * 1024;
/// Threads are parked for comparison only: a number that any machine can make in a second.
const PARKED_THREADS_MAX: u64 = 10_000;

/// Runs the case that the arguments name and reports it on standard output.
pub fn run(args: &Args, engine: EngineName, task: Task) {
    let line = match (engine, task) {
        (EngineName::Threads, Task::Serve(connections)) => serve::<Threads>(args, true, connections),
        (EngineName::Coroutines, Task::Serve(connections)) => serve::<Coroutines>(args, false, connections),
        (EngineName::Threads, Task::Park(count)) => park_many::<Threads>(true, count),
        (EngineName::Coroutines, Task::Park(count)) => park_many::<Coroutines>(false, count),
    };
    say(&line);
}

fn serve<E: Engine>(args: &Args, threads: bool, asked: usize) -> Line {
    let fits = limits::connections_max(threads);
    let connections = asked.min(usize::try_from(fits.count).unwrap_or(usize::MAX));
    if connections == 0 {
        return Line::Unavailable(format!("none fits into {}", fits.why));
    }
    if connections < asked {
        let run = grouped(connections as u64);
        say(&Line::Note(format!("only {run} run: {} allows no more", fits.why)));
    }
    let rounds = (args.requests / (connections as u64 * ROUND_REQUESTS)).max(1);
    let crowd = Arc::new(Crowd::new(Plan {
        connections,
        rounds,
        budget: args.budget,
    }));
    let (watched, corrupt) = (Arc::clone(&crowd), args.corrupt_request);
    watch::<E>(
        move || watched.progress(),
        move || serve_crowd::<E>(&crowd, connections, rounds, corrupt),
    )
}

/// The case, on the engine under test.
fn serve_crowd<E: Engine>(
    crowd: &Arc<Crowd>,
    connections: usize,
    rounds: u64,
    corrupt: Option<u64>,
) -> io::Result<Numbers> {
    let spawn = spawner::<E>();
    let server = Server::start(&spawn, corrupt)?;
    let address = server.address();
    let mut full_house = Peak::default();
    let ran = crowd.gather(address, &spawn).and_then(|()| {
        // The watcher samples, too, but may miss the peak of a short case.
        full_house.sample();
        let before_ns = cpu_ns();
        crowd.run().map(|elapsed| (elapsed, cpu_ns() - before_ns))
    });
    let (elapsed, cpu) = match ran {
        Ok(measured) => measured,
        Err(error) => {
            // Stopping first: it ends the waits of clients whose partner is lost.
            let refusal = server.stop().refusal;
            crowd.disperse();
            return Err(refusal.unwrap_or(error));
        }
    };
    crowd.disperse();
    crowd.check_total(address)?;
    check_report(crowd, &server.stop(), connections as u64);
    let made = crowd.rounds();
    if made < rounds * connections as u64 {
        say(&Line::Note("cut short by the time limit of a case".to_owned()));
    }
    let (wrong, first_wrong) = crowd.wrong();
    if let Some(first) = first_wrong {
        say(&Line::Note(format!("first wrong reply: {}", first.escape_debug())));
    }
    Ok(Numbers::default()
        .with("connections", connections as u64)
        .with("requests", made * ROUND_REQUESTS)
        .with("wrong", wrong)
        .with("threads", full_house.threads)
        .with("rss_bytes", full_house.rss_bytes)
        .with("elapsed_ns", u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
        .with("cpu_ns", cpu)
        .with("p50_ns", crowd.latency.quantile_ns(0.50))
        .with("p99_ns", crowd.latency.quantile_ns(0.99)))
}

/// The log must hold a line for each opening, each closing (the checking connection's too) and each SET: one for a
/// round and one at the end of each client.
fn check_report(crowd: &Crowd, report: &Report, connections: u64) {
    let expected = 2 * (connections + 1) + crowd.rounds() + connections;
    if report.log_lines != expected {
        crowd.found_wrong(format!("{} lines in the log instead of {expected}", report.log_lines));
    }
}

fn park_many<E: Engine>(threads: bool, asked: usize) -> Line {
    let (bytes_each, bound) = if threads {
        let bound = limits::threads_max();
        (
            THREAD_BYTES,
            limits::Bound {
                count: bound.count.min(PARKED_THREADS_MAX),
                ..bound
            },
        )
    } else {
        (
            COROUTINE_BYTES,
            limits::Bound {
                count: u64::MAX,
                why: "",
            },
        )
    };
    let memory = limits::memory_available_bytes() / bytes_each;
    let count = asked.min(usize::try_from(bound.count.min(memory)).unwrap_or(usize::MAX));
    if count == 0 {
        let why = if memory == 0 { "available memory" } else { bound.why };
        return Line::Unavailable(format!("none fits into {why}"));
    }
    let (will, wanted) = (grouped(count as u64), grouped(asked as u64));
    if count < asked && memory < bound.count {
        say(&Line::Note(format!(
            "{will} parked instead of {wanted}: memory is short"
        )));
    } else if count < asked && bound.count < PARKED_THREADS_MAX {
        say(&Line::Note(format!(
            "{will} parked threads: {} allows no more",
            bound.why
        )));
    }
    let stage = Arc::new(Stage::default());
    let watched = Arc::clone(&stage);
    watch::<E>(
        move || watched.progress(),
        move || {
            let weighed = park::run::<E>(count, &stage)?;
            if let Some(error) = weighed.refusal.filter(|_| weighed.count < count) {
                if weighed.count == 0 {
                    return Err(error);
                }
                say(&Line::Note(format!(
                    "{} parked instead of {will}: {error}",
                    grouped(weighed.count as u64)
                )));
            }
            let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            Ok(Numbers::default()
                .with("parked", weighed.count as u64)
                .with("wrong", weighed.wrong)
                .with("parked_rss_bytes", weighed.rss_bytes)
                .with("page_table_bytes", weighed.page_table_bytes)
                .with("mappings", weighed.mappings)
                .with("threads", weighed.threads)
                .with("spawn_ns", nanoseconds(weighed.spawn))
                .with("wake_ns", nanoseconds(weighed.wake)))
        },
    )
}

/// Runs `body` on the engine while this thread samples the process; adds the peaks to the numbers.
fn watch<E: Engine>(
    progress: impl Fn() -> String,
    body: impl FnOnce() -> io::Result<Numbers> + Send + 'static,
) -> Line {
    let (send, outcome) = mpsc::channel();
    let spawned = E::spawn(move || {
        // The watcher waits until this end of the channel is gone, so it is still there.
        let _ = send.send(body());
        0
    });
    let handle = match spawned {
        Ok(handle) => handle,
        Err(error) => return verdict(&error),
    };
    let (mut peak, mut spoke) = (Peak::default(), Instant::now());
    peak.sample();
    let line = loop {
        match outcome.recv_timeout(SAMPLE) {
            Ok(Ok(numbers)) => {
                break Line::Result(
                    numbers
                        .at_least("threads", peak.threads)
                        .at_least("rss_bytes", peak.rss_bytes),
                );
            }
            Ok(Err(error)) => break verdict(&error),
            Err(RecvTimeoutError::Disconnected) => {
                break Line::Failed("the case panicked".to_owned());
            }
            Err(RecvTimeoutError::Timeout) => peak.sample(),
        }
        if spoke.elapsed() >= PROGRESS {
            spoke = Instant::now();
            say(&Line::Progress(progress()));
        }
    };
    match E::join(handle) {
        Ok(_) => line,
        Err(how) => Line::Failed(format!("the case {how}")),
    }
}

/// EAGAIN, ENOMEM, ENFILE and EMFILE are how the kernel says that a limit is reached; the rest is a failure.
fn verdict(error: &io::Error) -> Line {
    let limit = matches!(error.raw_os_error(), Some(11 | 12 | 23 | 24)) || error.kind() == io::ErrorKind::Unsupported;
    if limit {
        Line::Unavailable(error.to_string())
    } else {
        Line::Failed(error.to_string())
    }
}

/// Writes a whole line under the lock of stdout: the case and its watcher both speak.
fn say(line: &Line) {
    let mut out = io::stdout().lock();
    // If the parent is gone there is nobody to tell.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_told_from_failures() {
        assert!(matches!(
            verdict(&io::Error::from_raw_os_error(11)),
            Line::Unavailable(_)
        ));
        assert!(matches!(verdict(&io::Error::from_raw_os_error(104)), Line::Failed(_)));
        assert!(matches!(
            verdict(&io::Error::other("connection 3: closed")),
            Line::Failed(_)
        ));
    }

    #[test]
    fn a_missing_log_line_counts_as_wrong() {
        let crowd = Crowd::new(Plan {
            connections: 2,
            rounds: 1,
            budget: None,
        });
        check_report(
            &crowd,
            &Report {
                log_lines: 8,
                refusal: None,
            },
            2,
        );
        assert_eq!(crowd.wrong().0, 0);
        check_report(
            &crowd,
            &Report {
                log_lines: 7,
                refusal: None,
            },
            2,
        );
        assert_eq!(crowd.wrong().0, 1);
    }

    #[test]
    fn a_panic_of_the_case_is_a_failure() {
        let line = watch::<Threads>(String::new, || panic!("on purpose"));
        assert_eq!(line, Line::Failed("the case panicked".to_owned()));
    }
}
