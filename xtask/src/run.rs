//! Runs a command, shows its output, keeps a copy, and ends it when its time is over.
//!
//! A runtime that has lost a wake-up does not fail, it hangs: so every command has a deadline. The command leads a
//! process group of its own, and the whole group is killed at the deadline, since a `cargo test` that is killed alone
//! leaves behind the test that hangs, with our pipe in its hands. The signal is sent by the `kill` program, since std
//! cannot signal a group and this crate has no `unsafe`.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How often a running command is asked whether it has ended.
const POLL: Duration = Duration::from_millis(50);
/// How long output is awaited after the command ended: a grandchild may hold the pipe for ever.
const DRAIN: Duration = Duration::from_secs(2);

/// A command line of cargo, ready to run.
pub struct Cargo {
    command: Command,
    shown: String,
    quiet: bool,
}

impl Cargo {
    /// `cargo` with these words, in the repository.
    pub fn new(root: &Path, words: &[&str]) -> Self {
        let mut cargo = Self::program(root, "cargo", words);
        cargo.command.env("CARGO_TERM_COLOR", "never");
        cargo
    }

    fn program(root: &Path, name: &str, words: &[&str]) -> Self {
        let mut command = Command::new(name);
        command.args(words).current_dir(root);
        Cargo {
            command,
            shown: format!("{name} {}", words.join(" ")),
            quiet: false,
        }
    }

    /// Sets a variable.
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.command.env(key, value);
        self.shown = format!("{key}='{value}' {}", self.shown);
        self
    }

    /// Keeps stdout to ourselves: it is for a program, not for a reader. Stderr is shown all the same.
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// Runs to the end; what it wrote to stdout, or why it failed.
    pub fn run(mut self, deadline: Instant) -> Result<String, String> {
        println!("$ {}", self.shown);
        self.command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0);
        let mut child = self
            .command
            .spawn()
            .map_err(|error| format!("cannot start `{}`: {error}", self.shown))?;
        let lines = read_lines(child.stdout.take().expect("stdout is piped"));
        let mut output = String::new();
        let status = loop {
            self.take_lines(&lines, POLL, &mut output);
            if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
                break status;
            }
            if Instant::now() >= deadline {
                kill_group(&mut child);
                self.take_lines(&lines, DRAIN, &mut output);
                return Err(format!("`{}` did not end in time and was killed", self.shown));
            }
        };
        self.take_lines(&lines, DRAIN, &mut output);
        if status.success() {
            Ok(output)
        } else {
            Err(format!("`{}`: {}", self.shown, status))
        }
    }

    /// Moves lines to `output` until there are none, or until `patience` is over.
    fn take_lines(&self, lines: &Receiver<String>, patience: Duration, output: &mut String) {
        let until = Instant::now() + patience;
        loop {
            match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if !self.quiet {
                        println!("{line}");
                    }
                    output.push_str(&line);
                    output.push('\n');
                }
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => {
                    // Closed stdout is not the end of the process: wait as long as an open one would have.
                    thread::sleep(POLL.min(until.saturating_duration_since(Instant::now())));
                    return;
                }
            }
        }
    }
}

fn read_lines(stdout: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n') {
            let Ok(line) = line else { return };
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    receiver
}

fn kill_group(child: &mut Child) {
    let group = format!("-{}", child.id());
    let killed = Command::new("kill").args(["-KILL", "--", &group]).status();
    if !killed.is_ok_and(|status| status.success()) {
        // No `kill` program: the leader at least. That it may be gone already is no news.
        let _ = child.kill();
    }
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_s(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[test]
    fn output_is_kept_and_failure_is_told() {
        let root = crate::root();
        assert!(
            Cargo::new(&root, &["--version"])
                .run(in_s(60))
                .unwrap()
                .starts_with("cargo ")
        );
        let failed = Cargo::program(&root, "sh", &["-c", "echo out; exit 3"]).run(in_s(60));
        assert!(failed.unwrap_err().contains("exit status: 3"));
        assert!(
            Cargo::program(&root, "no-such-program", &[])
                .run(in_s(60))
                .unwrap_err()
                .contains("cannot start")
        );
    }

    #[test]
    fn the_whole_group_is_killed_at_the_deadline() {
        let start = Instant::now();
        // The grandchild inherits the pipe: were it left alive, reading would go on for a minute.
        let hangs = Cargo::program(&crate::root(), "sh", &["-c", "sleep 60 & sleep 60"]);
        assert!(hangs.run(in_s(1)).unwrap_err().contains("did not end in time"));
        assert!(start.elapsed() < Duration::from_secs(30));
    }
}
