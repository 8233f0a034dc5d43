//! The progress line, on standard error: rewritten in place on a terminal, a new line every few seconds elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

const LINE_EVERY: Duration = Duration::from_secs(3);

/// Shows what is being done.
pub struct Progress {
    terminal: bool,
    started: Instant,
    spoke: Option<Instant>,
}

impl Progress {
    /// Finds out where it writes to.
    pub fn new() -> Progress {
        Progress {
            terminal: io::stderr().is_terminal(),
            started: Instant::now(),
            spoke: None,
        }
    }

    /// Says it, unless something was said just before.
    pub fn show(&mut self, label: &str, text: &str) {
        if !self.terminal && self.spoke.is_some_and(|spoke| spoke.elapsed() < LINE_EVERY) {
            return;
        }
        self.spoke = Some(Instant::now());
        let line = format!(
            "[{:3} s] {label}: {}",
            self.started.elapsed().as_secs(),
            if text.is_empty() { "starting" } else { text }
        );
        let mut out = io::stderr().lock();
        // A closed standard error must not end the run.
        let _ = if self.terminal {
            write!(out, "\r\x1b[K{line}").and_then(|()| out.flush())
        } else {
            writeln!(out, "{line}")
        };
    }

    /// Clears the line before the table is printed.
    pub fn clear(&self) {
        if self.terminal {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
