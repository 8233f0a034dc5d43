//! Starts a case in a child process, follows it, and ends it if it hangs.
//!
//! The child is this program again, started by `/bin/sh`, which does the two things that std has no safe call for:
//! - it raises RLIMIT_NOFILE to what the case needs: beyond the hard limit where we are privileged, else up to it;
//! - before a thread case it ignores SIGSEGV and SIGBUS, which halves the mappings of a thread (`limits.rs`).
//!
//! Rejected: `setrlimit` and `sigaction` through libc, which would be the only `unsafe` of this crate.
//!
//! *Hanging* is: no new progress for [`STALL`]. A total time would have to be a guess at the speed of the machine.

use crate::args::EngineName;
use crate::limits;
use crate::progress::Progress;
use crate::report::{self, Line, Numbers};
use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// A case that shows no progress for so long is ended.
const STALL: Duration = Duration::from_secs(20);
const TICK: Duration = Duration::from_millis(250);

/// `$0` is the program, `$1` the open files wanted (0: as they are), `$2` the engine, the rest are its arguments. The
/// probe in parentheses keeps a shell that ends at a failed `ulimit` alive.
const LAUNCH: &str = r#"
if [ "$1" -gt 0 ]; then
    if (ulimit -n "$1") 2>/dev/null; then ulimit -n "$1"; else ulimit -S -n "$(ulimit -H -n)" 2>/dev/null; fi
fi
if [ "$2" = threads ]; then trap "" SEGV BUS; fi
shift 2
exec "$0" "$@"
"#;

/// How a case ended.
#[derive(Debug)]
pub enum Outcome {
    /// It ran; `wrong` may still not be 0.
    Measured(Numbers),
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

/// Runs this program with `arguments` and follows it to its end.
pub fn run(
    engine: EngineName,
    descriptors: u64,
    arguments: &[String],
    label: &str,
    progress: &mut Progress,
) -> Finished {
    let mut notes = Vec::new();
    let outcome = match start(engine, descriptors, arguments) {
        Ok(mut child) => {
            let followed = follow(&mut child, label, progress, &mut notes);
            // After the stream has ended or the child was killed, waiting is short.
            let ended = child.wait();
            followed.unwrap_or_else(|| {
                let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                Outcome::Failed(format!("no result; {how}"))
            })
        }
        Err(error) => Outcome::Failed(format!("could not start a child: {error}")),
    };
    Finished { outcome, notes }
}

fn start(engine: EngineName, descriptors: u64, arguments: &[String]) -> io::Result<Child> {
    let wanted = if descriptors > limits::descriptors_max() {
        descriptors
    } else {
        0
    };
    Command::new("/bin/sh")
        .args(["-c", LAUNCH])
        .arg(std::env::current_exe()?)
        .args([&wanted.to_string(), engine.name()])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
}

/// Reads the child's lines until its output ends. `None`: it ended without a verdict.
fn follow(child: &mut Child, label: &str, progress: &mut Progress, notes: &mut Vec<String>) -> Option<Outcome> {
    let output = BufReader::new(child.stdout.take()?);
    let (send, lines) = mpsc::channel();
    thread::spawn(move || {
        output
            .lines()
            .map_while(Result::ok)
            .try_for_each(|line| send.send(line))
    });
    let (mut outcome, mut last, mut moved) = (None, String::new(), Instant::now());
    loop {
        progress.show(label, &last);
        match lines.recv_timeout(TICK) {
            Ok(line) => match report::parse(&line) {
                Some(Line::Progress(text)) if text == last => {}
                Some(Line::Progress(text)) => (last, moved) = (text, Instant::now()),
                Some(Line::Note(text)) => notes.push(text),
                Some(Line::Result(numbers)) => outcome = Some(Outcome::Measured(numbers)),
                Some(Line::Unavailable(why)) => outcome = Some(Outcome::Unavailable(why)),
                Some(Line::Failed(why)) => outcome = Some(Outcome::Failed(why)),
                None => notes.push(format!("unexpected output: {line}")),
            },
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return outcome,
        }
        if moved.elapsed() > STALL {
            // It fails only if the child has ended by itself, which the caller finds out.
            let _ = child.kill();
            return Some(Outcome::Failed(format!(
                "no progress for {} s, at: {last}",
                STALL.as_secs()
            )));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_without_a_verdict_has_failed() {
        // This program is the test harness here, which knows no such argument.
        let unknown = ["--no-such-argument".to_owned()];
        let finished = run(EngineName::Threads, 0, &unknown, "nobody", &mut Progress::new());
        assert!(matches!(finished.outcome, Outcome::Failed(why) if why.starts_with("no result; exit status")));
    }
}
