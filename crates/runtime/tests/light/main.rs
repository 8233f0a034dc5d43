//! Light coroutines: who may have them, and what silken makes right for them.

mod opt_in;
mod panics;

use std::process::Command;

/// Names the case that a child is to run.
const VARIABLE: &str = "SILKEN_LIGHT_CASE";

/// Runs `case` in a child of its own, since it changes what holds for the whole process: this binary again, with only
/// the calling test and these variables.
fn alone(test: &str, environment: &[(&str, &str)], case: fn()) {
    if std::env::var_os(VARIABLE).is_some() {
        return case();
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output = child
        .args(["--exact", test, "--nocapture"])
        .env_remove("SILKEN_LIGHT")
        .env(VARIABLE, "1")
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
