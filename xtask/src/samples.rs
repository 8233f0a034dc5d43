//! `cargo xtask samples DIR`: the first programs of the older systems, run on silken.
//!
//! Each Markdown file of the folder holds what a system's README shows its users. A reader who changes nothing but the
//! crate's name should get a program that compiles and does its job; this checks it. The samples belong to others and
//! are copied nowhere: they are read where they lie, and become packages below the target folder.
//!
//! *Compiles* means: the text, with the crate's name replaced, in edition 2021 (the last one in which all of them are
//! what they meant to be). A block without `fn main` is put into one. *Does its job* is a row of [`JOBS`], keyed by
//! file and position: servers are spoken to, output and exit are compared; a sample without a row has to exit with 0.
//! Samples listen on ports of their choice, so they run one after the other, and whoever holds such a port fails them.
//!
//! A text that no version of rustc accepts, with any crate, is mended as the compiler says, and the table says so.

use crate::run::Cargo;
use crate::workspace::target_folder;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a sample may take to come to its end, or to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the packages may take to build.
const BUILD_PATIENCE: Duration = Duration::from_secs(600);

/// What a sample is there to do.
enum Job {
    /// Exits with 0, after it printed these lines among others, each this often.
    Prints(&'static [(&'static str, usize)]),
    /// Listens on the port, and sends back whatever it is sent, on several connections at once.
    Echoes(u16),
    /// Listens on the port, and greets each connection with these words, then closes it.
    Greets(u16, &'static str),
}

/// File, position in it, job. What is not here exits with 0.
const JOBS: &[(&str, usize, Job)] = &[
    ("cogo.md", 0, Job::Echoes(8000)),
    ("coio.md", 0, Job::Prints(&[("Heil Hydra", 10)])),
    ("coio.md", 1, Job::Echoes(8080)),
    ("coio.md", 2, Job::Prints(&[("Not going to run this line", 0)])),
    ("mco.md", 0, Job::Echoes(8000)),
    (
        "rust-coroutines.md",
        0,
        Job::Prints(&[("sleep_thread enter", 5), ("sleep_thread exit", 5), ("main exit", 1)]),
    ),
    ("rust-coroutines.md", 1, Job::Greets(9781, "Hello world\n")),
];

/// File, position, what is replaced by what, why.
type Mend = (&'static str, usize, &'static str, &'static str, &'static str);

const MENDS: &[Mend] = &[(
    "rust-coroutines.md",
    1,
    "if let Ok(stream) = stream",
    "if let Ok(mut stream) = stream",
    "`mut` added: E0596 with std::thread as well",
)];

/// How each system names its crate.
const CRATES: &[&str] = &["cogo", "coio", "mco", "open_coroutine", "coroutines"];

/// One Rust block of a file.
struct Sample {
    file: String,
    index: usize,
    text: String,
    mended: Option<&'static str>,
}

/// What came of one.
enum Verdict {
    Passed(String),
    Failed(String),
}

/// Runs every sample of the folder; the evidence, or the reason. Prints a table in any case.
pub fn run(root: &Path, folder: &Path) -> Result<String, String> {
    let samples = collect(folder)?;
    if samples.is_empty() {
        return Err(format!("no ```rust block in the .md files of {}", folder.display()));
    }
    let workspace = target_folder(root)?.join("samples");
    write_workspace(root, &workspace, &samples)?;
    let words = ["build", "--quiet", "--workspace", "--keep-going"];
    let built = Cargo::new(&workspace, &words)
        .env("CARGO_TARGET_DIR", &workspace.join("target").to_string_lossy())
        .run(Instant::now() + BUILD_PATIENCE);
    let verdicts: Vec<Verdict> = samples.iter().map(|sample| try_out(&workspace, sample)).collect();
    println!("\n{}", table(&samples, &verdicts));
    let count = |is: fn(&Verdict) -> bool| verdicts.iter().filter(|verdict| is(verdict)).count();
    let passed = count(|verdict| matches!(verdict, Verdict::Passed(_)));
    match (built, count(|verdict| matches!(verdict, Verdict::Failed(_)))) {
        (Ok(_), 0) if passed > 0 => Ok(format!("{passed} samples do their job")),
        (Ok(_), 0) => Err("no sample ran".to_string()),
        (Err(reason), 0) => Err(reason),
        (_, failed) => Err(format!("{failed} of {} samples failed", samples.len())),
    }
}

/// CI's leg: the samples lie beside the repository, where they do.
pub fn leg(root: &Path) -> Result<String, String> {
    let folder = root.join("../shared/samples");
    if folder.is_dir() {
        run(root, &folder)
    } else {
        Ok("skipped: no ../shared/samples".to_string())
    }
}

fn collect(folder: &Path) -> Result<Vec<Sample>, String> {
    let cannot = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .map_err(cannot)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(cannot)?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.sort();
    let mut samples = Vec::new();
    for path in paths {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let markdown = fs::read_to_string(&path).map_err(cannot)?;
        for (index, block) in rust_blocks(&markdown).into_iter().enumerate() {
            samples.push(sample(&file, index, &block));
        }
    }
    Ok(samples)
}

fn sample(file: &str, index: usize, block: &str) -> Sample {
    let mut text = CRATES.iter().fold(block.to_string(), |text, name| rename(&text, name));
    let mut mended = None;
    for (of, at, from, to, why) in MENDS {
        if *of == file && *at == index && text.contains(from) {
            text = text.replace(from, to);
            mended = Some(*why);
        }
    }
    if !text.contains("fn main") {
        text = format!("fn main() {{\n{text}\n}}\n");
    }
    Sample {
        file: file.to_string(),
        index,
        text,
        mended,
    }
}

/// The insides of the ```rust fences.
fn rust_blocks(markdown: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in markdown.lines() {
        match (&mut open, line.trim()) {
            (None, "```rust") => open = Some(String::new()),
            (Some(_), "```") => blocks.extend(open.take()),
            (Some(block), _) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    blocks
}

/// Replaces a crate's name by ours where it stands as a word that a path goes on from, or after `extern crate`.
fn rename(text: &str, name: &str) -> String {
    let mut renamed = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(name) {
        let (before, after) = (&rest[..at], &rest[at + name.len()..]);
        renamed.push_str(before);
        let starts_word = !renamed.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
        let is_crate = after.starts_with("::") || renamed.ends_with("extern crate ");
        renamed.push_str(if starts_word && is_crate { "silken" } else { name });
        rest = after;
    }
    renamed + rest
}

impl Sample {
    fn package(&self) -> String {
        format!("{}-{}", self.file.trim_end_matches(".md"), self.index)
    }

    fn job(&self) -> &'static Job {
        let row = JOBS
            .iter()
            .find(|(file, index, _)| *file == self.file && *index == self.index);
        row.map_or(&Job::Prints(&[]), |(_, _, job)| job)
    }
}

fn write_workspace(root: &Path, workspace: &Path, samples: &[Sample]) -> Result<(), String> {
    let write = |path: PathBuf, text: &str| {
        let folder = path.parent().expect("a file lies in a folder").to_path_buf();
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, text));
        written.map_err(|error| format!("{}: {error}", path.display()))
    };
    let members: Vec<String> = samples.iter().map(|sample| format!("{:?}", sample.package())).collect();
    let manifest = format!("[workspace]\nresolver = \"2\"\nmembers = [{}]\n", members.join(", "));
    write(workspace.join("Cargo.toml"), &manifest)?;
    // The versions that the repository is tested with.
    let _ = fs::copy(root.join("Cargo.lock"), workspace.join("Cargo.lock"));
    for sample in samples {
        let package = sample.package();
        let manifest = format!(
            "[package]\nname = {package:?}\nversion = \"0.0.0\"\nedition = \"2021\"\n\n[dependencies]\nsilken = {{ path = {:?} }}\n",
            root.join("crates/runtime").display().to_string()
        );
        write(workspace.join(&package).join("Cargo.toml"), &manifest)?;
        write(workspace.join(&package).join("src/main.rs"), &sample.text)?;
        // A program of an earlier run must not pass for one that no longer builds.
        let _ = fs::remove_file(program(workspace, sample));
    }
    Ok(())
}

fn program(workspace: &Path, sample: &Sample) -> PathBuf {
    workspace.join("target/debug").join(sample.package())
}

fn try_out(workspace: &Path, sample: &Sample) -> Verdict {
    let program = program(workspace, sample);
    let outcome = match sample.job() {
        _ if !program.exists() => Err("does not compile".to_string()),
        Job::Prints(lines) => ends(&program, lines),
        Job::Echoes(port) => serves(&program, *port, echoes),
        Job::Greets(port, words) => serves(&program, *port, |port| greets(port, words)),
    };
    match outcome {
        Ok(evidence) => Verdict::Passed(evidence),
        Err(reason) => Verdict::Failed(reason),
    }
}

/// Kills the sample whatever becomes of us.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(program: &Path, stdout: Stdio) -> Result<Running, String> {
    let child = Command::new(program)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn();
    child.map(Running).map_err(|error| format!("does not start: {error}"))
}

fn ends(program: &Path, lines: &[(&str, usize)]) -> Result<String, String> {
    let mut running = start(program, Stdio::piped())?;
    let output = wait(&mut running.0)?;
    if !output.status.success() {
        return Err(format!(
            "{}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for (line, times) in lines {
        let found = text.lines().filter(|printed| printed == line).count();
        if found != *times {
            return Err(format!("printed `{line}` {found} times, not {times}"));
        }
    }
    let printed: usize = lines.iter().map(|(_, times)| times).sum();
    Ok(format!("exit 0, {printed} lines as expected"))
}

/// Waits for the end; the pipes of these small programs hold all that they print.
fn wait(child: &mut Child) -> Result<Output, String> {
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            break status;
        }
        if Instant::now() >= deadline {
            return Err(format!("did not end within {} s", PATIENCE.as_secs()));
        }
        thread::sleep(Duration::from_millis(10));
    };
    let read = |pipe: Option<&mut dyn Read>| {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            // What could not be read will be missed by the comparison.
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    };
    Ok(Output {
        status,
        stdout: read(child.stdout.as_mut().map(|pipe| pipe as &mut dyn Read)),
        stderr: read(child.stderr.as_mut().map(|pipe| pipe as &mut dyn Read)),
    })
}

fn serves(program: &Path, port: u16, talk: impl Fn(u16) -> Result<String, String>) -> Result<String, String> {
    if TcpStream::connect(("127.0.0.1", port)).is_ok() {
        return Err(format!("port {port} is taken by somebody else"));
    }
    let mut running = start(program, Stdio::null())?;
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = TcpStream::connect(("127.0.0.1", port)) {
        if let Ok(Some(status)) = running.0.try_wait() {
            return Err(format!("ended ({status}) and never listened"));
        }
        if error.kind() != ErrorKind::ConnectionRefused || Instant::now() >= deadline {
            return Err(format!("does not listen on port {port}: {error}"));
        }
        thread::sleep(Duration::from_millis(10));
    }
    let evidence = talk(port)?;
    match running.0.try_wait() {
        Ok(None) => Ok(evidence),
        outcome => Err(format!("a server that ended: {outcome:?}")),
    }
}

fn connect(port: u16) -> Result<TcpStream, String> {
    let connect = || -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    };
    connect().map_err(|error| format!("connect: {error}"))
}

/// Several connections, all open at once, so that a server that serves one after the other is found out.
fn echoes(port: u16) -> Result<String, String> {
    const CONNECTIONS: usize = 8;
    const LINES: usize = 20;
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS {
        streams.push(connect(port)?);
    }
    for line in 0..LINES {
        for (number, stream) in streams.iter_mut().enumerate().rev() {
            let sent = format!("line {line} of connection {number}\n");
            let mut back = vec![0; sent.len()];
            let talked = stream
                .write_all(sent.as_bytes())
                .and_then(|()| stream.read_exact(&mut back));
            talked.map_err(|error| format!("connection {number}, line {line}: {error}"))?;
            if back != sent.as_bytes() {
                return Err(format!(
                    "`{}` came back as `{}`",
                    sent.trim(),
                    String::from_utf8_lossy(&back)
                ));
            }
        }
    }
    for stream in &mut streams {
        let closed = stream.shutdown(Shutdown::Write).and_then(|()| stream.read(&mut [0]));
        match closed {
            Ok(0) => {}
            other => return Err(format!("after the end of our side: {other:?}, not the end of theirs")),
        }
    }
    Ok(format!(
        "{} lines echoed over {CONNECTIONS} connections",
        CONNECTIONS * LINES
    ))
}

fn greets(port: u16, words: &str) -> Result<String, String> {
    const CONNECTIONS: usize = 8;
    for _ in 0..CONNECTIONS {
        let mut said = String::new();
        let read = connect(port)?.read_to_string(&mut said);
        read.map_err(|error| format!("read: {error}"))?;
        if said != words {
            return Err(format!("said {said:?}, not {words:?}"));
        }
    }
    Ok(format!("{CONNECTIONS} connections answered {words:?}"))
}

fn table(samples: &[Sample], verdicts: &[Verdict]) -> String {
    let mut text = format!("{:<22} {:<8} evidence\n", "sample", "result");
    for (sample, verdict) in samples.iter().zip(verdicts) {
        let (word, evidence) = match verdict {
            Verdict::Passed(evidence) => ("ok", evidence),
            Verdict::Failed(reason) => ("FAILED", reason),
        };
        let name = format!("{} #{}", sample.file, sample.index + 1);
        let mended = sample.mended.map(|why| format!(" ({why})")).unwrap_or_default();
        text.push_str(&format!("{name:<22} {word:<8} {evidence}{mended}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_crate_is_renamed() {
        let text =
            "extern crate coroutines;\nuse coroutines::spawn;\nlet coroutines = my_coroutines::f(x::coroutines::y);\n";
        let expected =
            "extern crate silken;\nuse silken::spawn;\nlet coroutines = my_coroutines::f(x::coroutines::y);\n";
        assert_eq!(rename(text, "coroutines"), expected);
        assert_eq!(rename("#[open_coroutine::main]", "open_coroutine"), "#[silken::main]");
        // mco's name ends others' names.
        assert_eq!(rename("mco::a(comco::b)", "mco"), "silken::a(comco::b)");
    }

    #[test]
    fn blocks_are_those_in_rust_fences() {
        let markdown = "# a\n```rust\nfn main() {}\n```\n```toml\nx = 1\n```\n```rust\nmco::config();\n```\n";
        let blocks = rust_blocks(markdown);
        assert_eq!(blocks, ["fn main() {}\n", "mco::config();\n"]);
        assert_eq!(
            sample("mco.md", 1, &blocks[1]).text,
            "fn main() {\nsilken::config();\n\n}\n"
        );
    }

    #[test]
    fn a_folder_without_samples_is_no_success() {
        let folder = crate::root().join("xtask/src");
        assert!(run(&crate::root(), &folder).unwrap_err().contains("no ```rust block"));
    }
}
