//! `silken run PROGRAM [ARGUMENTS…]`: runs a dynamically linked program with its threads as coroutines.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const USAGE: &str = "usage: silken run [--workers N] [--report] [--verbose] PROGRAM [ARGUMENTS…]

Runs a dynamically linked program with its threads as coroutines. With --report
it says at the end on standard error what they did, and which calls blocked a
worker. The library
libsilken_preload.so is looked for beside this command, or where the variable
SILKEN_PRELOAD names it.";

/// What `silken run` was asked for.
#[derive(Default)]
struct Request {
    workers: Option<OsString>,
    reports: bool,
    is_verbose: bool,
    program: OsString,
    arguments: Vec<OsString>,
}

fn parse(mut words: lexopt::Parser) -> Result<Option<Request>, lexopt::Error> {
    use lexopt::Arg::{Long, Short, Value};
    let mut request = Request::default();
    match words.next()? {
        Some(Value(word)) if word == "run" => {}
        Some(Long("help") | Short('h')) | None => return Ok(None),
        Some(other) => return Err(other.unexpected()),
    }
    while let Some(word) = words.next()? {
        match word {
            Long("workers") => request.workers = Some(words.value()?),
            Long("report") => request.reports = true,
            Long("verbose") => request.is_verbose = true,
            Long("help") | Short('h') => return Ok(None),
            Value(program) => {
                request.program = program;
                request.arguments = words.raw_args()?.collect();
                return Ok(Some(request));
            }
            other => return Err(other.unexpected()),
        }
    }
    Err("which program?".into())
}

/// The library that is to be loaded first.
fn library() -> Result<PathBuf, String> {
    const NAME: &str = "libsilken_preload.so";
    if let Some(path) = std::env::var_os("SILKEN_PRELOAD") {
        return Ok(path.into());
    }
    let own = std::env::current_exe().map_err(|error| format!("where this command lies is not known: {error}"))?;
    let folder = own.parent().unwrap_or(Path::new("/"));
    let places = [folder.join(NAME), folder.join("../lib").join(NAME)];
    let found = places.iter().find(|place| place.exists());
    found
        .cloned()
        .ok_or_else(|| format!("{NAME} is not in {}; SILKEN_PRELOAD can name it", folder.display()))
}

/// Where the program lies.
fn find(program: &OsString) -> PathBuf {
    let path = Path::new(program);
    if path.components().count() > 1 {
        return path.to_owned();
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders)
        .map(|folder| folder.join(path))
        .find(|place| place.is_file());
    found.unwrap_or_else(|| path.to_owned())
}

/// Whether the dynamic linker says that it does not load this file: it is linked statically. A script, or a file that
/// cannot be read, is left to the system.
fn is_static(program: &Path) -> bool {
    let mut begin = [0; 4];
    let read = std::fs::File::open(program).and_then(|mut file| file.read_exact(&mut begin));
    if read.is_err() || begin != *b"\x7fELF" {
        return false;
    }
    let verified = Command::new("/lib64/ld-linux-x86-64.so.2")
        .arg("--verify")
        .arg(program)
        .status();
    verified.is_ok_and(|status| status.code() == Some(1))
}

fn run(request: &Request) -> Result<std::convert::Infallible, String> {
    let library = library()?;
    let program = find(&request.program);
    if is_static(&program) {
        let name = program.display();
        return Err(format!(
            "{name} is linked statically, so no library can be loaded before it"
        ));
    }
    let mut command = Command::new(&program);
    let others = std::env::var_os("LD_PRELOAD").filter(|others| !others.is_empty());
    let mut first = library.into_os_string();
    if let Some(others) = others {
        first.push(":");
        first.push(others);
    }
    command.args(&request.arguments).env("LD_PRELOAD", first);
    if let Some(workers) = &request.workers {
        command.env("SILKEN_WORKERS", workers);
    }
    if request.reports {
        command.env("SILKEN_REPORT", "1");
    }
    if request.is_verbose {
        command.env("SILKEN_VERBOSE", "1");
    }
    let error = command.exec();
    Err(format!("{} does not start: {error}", program.display()))
}

fn main() -> ExitCode {
    let outcome = match parse(lexopt::Parser::from_env()) {
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Ok(Some(request)) => run(&request).map(|never| match never {}),
        Err(error) => Err(format!("{error}\n{USAGE}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("silken: {text}");
            ExitCode::from(127)
        }
    }
}
