//! The demonstration as a user runs it: small, by its command line, judged by its table and its exit code.

use std::process::{Command, Output};

fn demo(arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_demo"))
        .args(arguments.split_whitespace())
        .env("SILKEN_WORKERS", "2")
        .output()
        .unwrap()
}

fn table(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The cells of the first row that starts with these two.
fn row(table: &str, engine: &str, size: &str) -> Vec<String> {
    let rows = table
        .lines()
        .map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    let mut wanted = rows.filter(|cells| cells.len() > 2 && cells[0] == engine && cells[1] == size);
    wanted
        .next()
        .unwrap_or_else(|| panic!("no row {engine} {size} in:\n{table}"))
}

/// Serves and parks on one engine, which may have had so many OS threads.
fn serve_and_park(engine: &str, threads: std::ops::RangeInclusive<u64>) {
    let output = demo(&format!(
        "--engine {engine} --connections 10,40 --requests 4000 --parked 50"
    ));
    let table = table(&output);
    assert!(output.status.success(), "{table}");
    for connections in ["10", "40"] {
        let cells = row(&table, engine, connections);
        // engine, connections, requests/s, two times with units, threads, RSS with unit, CPU, wrong
        assert_eq!(cells.len(), 12, "{cells:?}");
        assert!(cells[2].replace(',', "").parse::<u64>().unwrap() > 0);
        assert!(threads.contains(&cells[7].parse().unwrap()), "{cells:?}");
        assert_eq!(cells[11], "0");
    }
    let parked = row(&table, engine, "50");
    assert!(parked[2].replace(',', "").parse::<u64>().unwrap() > 1_000, "{parked:?}");
    assert_eq!(parked.last().unwrap(), "0");
    assert!(table.contains("none was wrong"));
    let progress = String::from_utf8_lossy(&output.stderr);
    assert!(progress.contains(&format!("{engine}, 10 connections")), "{progress}");
}

#[test]
fn threads_serve_and_park() {
    serve_and_park("threads", 20..=100);
}

#[test]
fn coroutines_serve_and_park() {
    serve_and_park("coroutines", 2..=6);
}

#[test]
fn a_wrong_reply_is_counted_named_and_fails_the_run() {
    let output = demo("--engine threads --connections 6 --requests 480 --parked 0 --corrupt-request 100");
    let table = table(&output);
    assert_eq!(output.status.code(), Some(1), "{table}");
    assert_eq!(row(&table, "threads", "6").last().unwrap(), "1");
    assert!(
        table.contains("first wrong reply: ") && table.contains("1 replies were wrong"),
        "{table}"
    );
}

#[test]
fn a_low_limit_of_open_files_shrinks_the_run_and_is_named() {
    let program = env!("CARGO_BIN_EXE_demo");
    let script = "ulimit -n 100; exec \"$0\" --engine threads --connections 1000 --requests 800 --parked 0";
    // Hard and soft limit fall together; a privileged user could raise them again, so both endings are right.
    let output = Command::new("/bin/sh").args(["-c", script, program]).output().unwrap();
    let table = table(&output);
    assert!(output.status.success(), "{table}");
    if table.contains("note: ") {
        assert!(
            table.contains("1,000 connections: only 34 run: the limit of open files"),
            "{table}"
        );
        row(&table, "threads", "34");
    } else {
        row(&table, "threads", "1,000");
    }
}

#[test]
fn mistakes_and_help_have_their_own_exit_codes() {
    assert_eq!(demo("--engine go").status.code(), Some(2));
    let help = demo("--help");
    assert!(help.status.success() && table(&help).contains("--connections"));
}
