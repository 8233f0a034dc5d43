//! How is one case measured? In a process of its own, so that its memory, threads and processor time are its own.
//!
//! *The parent* ([`run`]) starts this program again through `/bin/sh`, which does the two things that std has no safe
//! call for. It raises RLIMIT_NOFILE to what the case needs. Before a thread case it ignores SIGSEGV and SIGBUS: then
//! std gives its threads no alternate signal stacks, which halves the memory mappings of a thread, and 10,000
//! connections (20,000 threads) fit into the kernel's 65,530 mappings. A real fault still kills. *Rejected*: setrlimit
//! and sigaction through libc, which would be the only `unsafe` of this crate.
//!
//! *The child* ([`child`]) runs the case on the engine under test, from its first job on. Its main thread only samples
//! the process, and ends it if nothing happens any more; it is there in both engines, so the thread column counts it in
//! both. The child tells its parent in lines: `note`, then `row`, `unavailable` or `failed`, each with its text after a
//! tab.

use crate::args::{Args, EngineName, Task};
use crate::clients::{Crowd, Plan, ROUND_REQUESTS, Visits};
use crate::engine::{Coroutines, Engine, Threads, spawner};
use crate::measure::{Peak, cpu_ns, descriptors_max, memory_available_bytes};
use crate::park;
use crate::store::Server;
use crate::table::{duration, grouped, mebibytes};
use std::io;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Columns of a serving case.
pub const SERVED: [&str; 9] = [
    "engine",
    "connections",
    "requests/s",
    "p50",
    "p99",
    "OS threads",
    "RSS",
    "CPU s/M req",
    "wrong",
];
/// Columns of a parking case.
pub const PARKED: [&str; 9] = [
    "engine",
    "parked",
    "bytes each",
    "+ page tables",
    "mappings",
    "OS threads",
    "spawn+park",
    "wake+join",
    "wrong",
];

const SAMPLE: Duration = Duration::from_millis(20);
/// A case in which nothing happens for so long is ended. A total time would have to be a guess at the machine's speed.
const STALL: Duration = Duration::from_secs(20);
/// Descriptors beside the connections: standard streams, listener, drivers, the checking connection.
const DESCRIPTORS_SPARE: u64 = 32;
/// Both ends of a connection: stacks, buffers and the kernel's part, rounded up.
const CONNECTION_BYTES: u64 = 128 * 1024;
/// A parked coroutine, its page tables and what the kernel keeps, rounded up.
const COROUTINE_BYTES: u64 = 10 * 1024;
/// A thread, with its kernel stack.
const THREAD_BYTES: u64 = 40 * 1024;
/// Threads are parked for comparison only: a number that any machine can make in a second.
const PARKED_THREADS_MAX: usize = 10_000;

/// How a case ended.
pub enum Outcome {
    /// It ran: the cells of its row. The last one counts what was wrong.
    Measured(Vec<String>),
    /// This machine cannot run it.
    Unavailable(String),
    /// It went wrong.
    Failed(String),
}

/// A case that has ended.
pub struct Finished {
    /// How.
    pub outcome: Outcome,
    /// What is to be said under the table.
    pub notes: Vec<String>,
}

/// `$0` is the program, `$1` the open files wanted, `$2` the engine, the rest are its arguments. The probe in
/// parentheses keeps a shell that ends at a failed `ulimit` alive.
const LAUNCH: &str = r#"
if [ "$(ulimit -n)" != unlimited ] && [ "$1" -gt "$(ulimit -n)" ]; then
    if (ulimit -n "$1") 2>/dev/null; then ulimit -n "$1"; else ulimit -S -n "$(ulimit -H -n)" 2>/dev/null; fi
fi
if [ "$2" = threads ]; then trap "" SEGV BUS; fi
shift 2
exec "$0" "$@"
"#;

/// Runs a case in a child.
pub fn run(args: &Args, engine: EngineName, task: Task) -> Finished {
    let descriptors = match task {
        Task::Serve(connections) => 2 * connections as u64 + DESCRIPTORS_SPARE,
        Task::Park(_) => 0,
    };
    let program = std::env::current_exe();
    let output = program.and_then(|program| {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", LAUNCH]).arg(program);
        command.args([&descriptors.to_string(), engine.name()]);
        command
            .args(args.for_child(engine, task))
            .stdin(Stdio::null())
            .stderr(Stdio::inherit());
        command.output()
    });
    match output {
        Ok(output) => told(&String::from_utf8_lossy(&output.stdout), &output.status.to_string()),
        Err(error) => told("", &error.to_string()),
    }
}

/// What the lines of a child say; `status` if they say nothing.
fn told(lines: &str, status: &str) -> Finished {
    let mut finished = Finished {
        outcome: Outcome::Failed(format!("no result; {status}")),
        notes: Vec::new(),
    };
    for line in lines.lines() {
        match line.split_once('\t') {
            Some(("note", text)) => finished.notes.push(text.to_owned()),
            Some(("row", cells)) => {
                finished.outcome = Outcome::Measured(cells.split('\t').map(str::to_owned).collect())
            }
            Some(("unavailable", why)) => finished.outcome = Outcome::Unavailable(why.to_owned()),
            Some(("failed", why)) => finished.outcome = Outcome::Failed(why.to_owned()),
            _ => finished.notes.push(format!("unexpected output: {line}")),
        }
    }
    finished
}

/// Runs the case that the arguments name, and tells the parent.
pub fn child(args: &Args, task: Task) -> ExitCode {
    let engine = args.engines[0];
    let row = match (engine, task) {
        (EngineName::Threads, Task::Serve(connections)) => serve::<Threads>(args, connections),
        (EngineName::Coroutines, Task::Serve(connections)) => serve::<Coroutines>(args, connections),
        (EngineName::Threads, Task::Park(count)) => {
            park_many::<Threads>(count, count.min(PARKED_THREADS_MAX), THREAD_BYTES)
        }
        (EngineName::Coroutines, Task::Park(count)) => park_many::<Coroutines>(count, count, COROUTINE_BYTES),
    };
    match row {
        Ok(cells) => println!("row\t{}", cells.join("\t")),
        Err(error) if is_limit(&error) => println!("unavailable\t{error}"),
        Err(error) => println!("failed\t{error}"),
    }
    ExitCode::SUCCESS
}

/// Whether the kernel says that a limit is reached: EAGAIN, ENOMEM, ENFILE, EMFILE, EADDRNOTAVAIL. The rest is a
/// failure.
fn is_limit(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(11 | 12 | 23 | 24 | 99)) || error.kind() == io::ErrorKind::Unsupported
}

fn nothing_fits(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, format!("none fits into {why}"))
}

fn serve<E: Engine>(args: &Args, asked: usize) -> io::Result<Vec<String>> {
    let descriptors = descriptors_max().saturating_sub(DESCRIPTORS_SPARE) / 2;
    let memory = memory_available_bytes() / CONNECTION_BYTES;
    let (fits, why) = if descriptors <= memory {
        (descriptors, "the limit of open files (two per connection; ulimit -n)")
    } else {
        (memory, "available memory")
    };
    let connections = asked.min(usize::try_from(fits).unwrap_or(usize::MAX));
    if connections == 0 {
        return Err(nothing_fits(why));
    }
    if connections < asked {
        println!("note\tonly {} run: {why} allows no more", grouped(connections as u64));
    }
    let plan = Plan {
        connections,
        rounds: (args.requests / (connections as u64 * ROUND_REQUESTS)).max(1),
        budget: args.budget,
    };
    let corrupt = args.corrupt_request;
    let (served, peak) = watched::<E, _>(move |beats| serve_crowd::<E>(plan, corrupt, beats))?;
    if served.visits.rounds < plan.rounds * connections as u64 {
        println!("note\tcut short by the time limit of a case");
    }
    if let Some(first) = served.first_wrong {
        println!("note\tfirst wrong reply: {}", first.escape_debug());
    }
    let (requests, seconds) = (
        served.visits.rounds * ROUND_REQUESTS,
        served.visits.elapsed.as_secs_f64(),
    );
    Ok(vec![
        grouped(connections as u64),
        grouped((requests as f64 / seconds) as u64),
        duration(served.visits.p50_ns),
        duration(served.visits.p99_ns),
        grouped(peak.threads.max(served.full_house.threads)),
        mebibytes(peak.rss_bytes.max(served.full_house.rss_bytes)),
        format!("{:.2}", served.cpu_ns as f64 / 1e3 / requests as f64),
        grouped(served.wrong),
    ])
}

struct Served {
    visits: Visits,
    /// With all connected; the watcher samples too, but may miss the peak of a short case.
    full_house: Peak,
    cpu_ns: u64,
    wrong: u64,
    first_wrong: Option<String>,
}

/// The case, on the engine under test.
fn serve_crowd<E: Engine>(plan: Plan, corrupt: Option<u64>, beats: &Arc<AtomicU64>) -> io::Result<Served> {
    let spawn = spawner::<E>();
    let server = Server::start(&spawn, corrupt)?;
    let crowd = Crowd::new(plan, Arc::clone(beats));
    let gathered = crowd.gather(server.address(), &spawn);
    // A client that is cut off does not know why.
    let gathered = gathered.map_err(|error| {
        if is_limit(&error) {
            error
        } else {
            server.refusal().unwrap_or(error)
        }
    })?;
    let mut full_house = Peak::default();
    full_house.sample();
    let before_ns = cpu_ns();
    let visits = gathered.run()?;
    let cpu_ns = cpu_ns() - before_ns;
    // Opened and closed, the connection that checks the total included; one SET a round, and one at a client's end.
    let connections = plan.connections as u64;
    let (lines, expected) = (server.stop()?, 2 * (connections + 1) + visits.rounds + connections);
    if lines != expected {
        crowd.found_wrong(format!("{lines} lines in the log instead of {expected}"));
    }
    let (wrong, first_wrong) = crowd.wrong();
    Ok(Served {
        visits,
        full_house,
        cpu_ns,
        wrong,
        first_wrong,
    })
}

fn park_many<E: Engine>(asked: usize, wanted: usize, bytes_each: u64) -> io::Result<Vec<String>> {
    let memory = usize::try_from(memory_available_bytes() / bytes_each).unwrap_or(usize::MAX);
    let count = wanted.min(memory);
    if count == 0 {
        return Err(nothing_fits("available memory"));
    }
    let (will, asked) = (grouped(count as u64), grouped(asked as u64));
    if count < wanted {
        println!("note\t{will} parked instead of {asked}: memory is short");
    }
    let (weighed, _) = watched::<E, _>(move |beats| park::run::<E>(count, beats))?;
    if let Some(error) = weighed.refusal {
        if weighed.count == 0 {
            return Err(error);
        }
        println!("note\t{} parked instead of {will}: {error}", grouped(weighed.count));
    }
    let nanoseconds = |time: Duration| duration(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    Ok(vec![
        grouped(weighed.count),
        grouped(weighed.rss_bytes / weighed.count),
        grouped(weighed.page_table_bytes / weighed.count),
        grouped(weighed.mappings),
        grouped(weighed.threads),
        nanoseconds(weighed.spawn),
        nanoseconds(weighed.wake),
        grouped(weighed.wrong),
    ])
}

/// Runs `body` on the engine while this thread samples the process. `body` counts what it does.
fn watched<E: Engine, T: Send + 'static>(
    body: impl FnOnce(&Arc<AtomicU64>) -> io::Result<T> + Send + 'static,
) -> io::Result<(T, Peak)> {
    let beats = Arc::new(AtomicU64::new(0));
    let (send, outcome) = mpsc::channel();
    let counted = Arc::clone(&beats);
    let handle = E::spawn(move || {
        // The watcher waits until this end of the channel is gone, so it is still there.
        let _ = send.send(body(&counted));
        0
    })?;
    let (mut peak, mut seen, mut since) = (Peak::default(), 0, Instant::now());
    loop {
        peak.sample();
        match outcome.recv_timeout(SAMPLE) {
            Ok(result) => {
                let result = result?;
                return E::join(handle).map(|_| (result, peak)).map_err(io::Error::other);
            }
            Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("the case panicked")),
            Err(RecvTimeoutError::Timeout) => {}
        }
        // Relaxed: a sign of life.
        let now = beats.load(Ordering::Relaxed);
        if now != seen {
            (seen, since) = (now, Instant::now());
        } else if since.elapsed() > STALL {
            return Err(io::Error::other(format!(
                "nothing has happened for {} s",
                STALL.as_secs()
            )));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_told_from_failures() {
        assert!(is_limit(&io::Error::from_raw_os_error(11)) && is_limit(&nothing_fits("a thimble")));
        assert!(!is_limit(&io::Error::from_raw_os_error(104)) && !is_limit(&io::Error::other("connection 3: closed")));
    }

    #[test]
    fn what_a_child_says_is_understood_and_silence_is_a_failure() {
        let finished = told("note\ta b\nrow\t1\t2,000\nnonsense\n", "exit status: 0");
        assert!(matches!(finished.outcome, Outcome::Measured(cells) if cells == ["1", "2,000"]));
        assert_eq!(finished.notes, ["a b", "unexpected output: nonsense"]);
        assert!(matches!(told("unavailable\twhy\n", "").outcome, Outcome::Unavailable(why) if why == "why"));
        assert!(matches!(told("", "exit status: 7").outcome, Outcome::Failed(why) if why.ends_with("exit status: 7")));
    }

    #[test]
    fn a_panic_of_the_case_is_a_failure() {
        let ended = watched::<Threads, ()>(|_| panic!("on purpose"));
        assert_eq!(ended.err().unwrap().to_string(), "the case panicked");
    }
}
