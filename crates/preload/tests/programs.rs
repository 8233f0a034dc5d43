//! Do programs that know nothing of silken run with their threads as coroutines?

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn silken() -> Command {
    Command::new(env!("CARGO_BIN_EXE_silken"))
}

/// The folder of the command and of the library.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_silken"))
        .parent()
        .expect("it is in a folder")
        .to_owned()
}

/// The library, which cargo puts beside the test where it builds only that.
fn library() -> PathBuf {
    let names = [
        folder().join("libsilken_preload.so"),
        folder().join("deps/libsilken_preload.so"),
    ];
    names
        .into_iter()
        .find(|path| path.exists())
        .expect("cargo has built the library")
}

/// For what the tests compile. Other packages use the folder that cargo names, too.
fn own_folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("preload");
    std::fs::create_dir_all(&folder).expect("cargo has made the outer one");
    folder
}

fn output(command: &mut Command) -> (Output, String, String) {
    let output = command
        .env("SILKEN_PRELOAD", library())
        .output()
        .expect("the command starts");
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    (output, stdout, stderr)
}

fn number(text: &str, name: &str) -> usize {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|number| number.trim().parse().ok())
        .unwrap_or_else(|| panic!("no {name} in {text}"))
}

#[test]
fn threads_of_rust_are_coroutines() {
    let program = folder().join("examples/unmodified");
    for workers in ["1", "2", "4"] {
        let mut command = silken();
        command.args(["run", "--workers", workers]).arg(&program);
        let (output, stdout, stderr) = output(&mut command);
        assert!(output.status.success(), "{workers} workers: {stdout}{stderr}");
        assert!(number(&stdout, "threads of the system:") < 50, "{stdout}");
        assert_eq!(number(&stdout, "sum:"), 499 * 500 / 2);
        assert_eq!(number(&stdout, "echoes:"), 100);
        assert!(stdout.contains("preload: <>"), "children run as they are: {stdout}");
    }
    let (_, stdout, _) = output(&mut Command::new(&program));
    assert!(
        number(&stdout, "threads of the system:") > 50,
        "without silken: {stdout}"
    );
}

const IN_C: &str = r#"
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <dirent.h>
#include <unistd.h>

static sem_t turn;
static pthread_key_t key;
static int destroyed;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int threads(void) {
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    while (readdir(tasks)) count++;
    closedir(tasks);
    return count - 2;
}

static void destroy(void *value) {
    pthread_mutex_lock(&lock);
    destroyed++;
    pthread_mutex_unlock(&lock);
}

static void *waits(void *argument) {
    pthread_setspecific(key, argument);
    sem_wait(&turn);
    if ((long) argument % 2)
        pthread_exit(argument);
    return argument;
}

static void post(int signal) { sem_post(&turn); }

int main(void) {
    enum { COUNT = 300 };
    pthread_t all[COUNT];
    sem_init(&turn, 0, 0);
    pthread_key_create(&key, destroy);
    for (long number = 0; number < COUNT; number++)
        if (pthread_create(&all[number], NULL, waits, (void *) (number + 1))) return 2;
    usleep(50000);
    printf("threads of the system: %d\n", threads());
    signal(SIGUSR1, post);
    for (int number = 0; number < COUNT; number++)
        if (number % 2) sem_post(&turn); else raise(SIGUSR1);
    long sum = 0;
    for (int number = 0; number < COUNT; number++) {
        void *value;
        if (pthread_join(all[number], &value)) return 3;
        sum += (long) value;
    }
    printf("sum: %ld\ndestroyed: %d\n", sum, destroyed);
    return 0;
}
"#;

/// Compiles a program in C.
fn compiled(name: &str, text: &str) -> PathBuf {
    let (source, program) = (own_folder().join(format!("{name}.c")), own_folder().join(name));
    std::fs::write(&source, text).expect("the folder is there");
    let status = Command::new("cc")
        .arg("-pthread")
        .arg("-o")
        .args([&program, &source])
        .status();
    assert!(
        status
            .expect("a C compiler, as every Rust program needs to be linked")
            .success()
    );
    program
}

#[test]
fn threads_of_c_are_coroutines() {
    let program = compiled("threads", IN_C);
    for _ in 0..5 {
        let (output, stdout, stderr) = output(silken().arg("run").arg(&program));
        assert!(output.status.success(), "{:?} {stdout}{stderr}", output.status);
        assert!(number(&stdout, "threads of the system:") < 30, "{stdout}");
        assert_eq!(number(&stdout, "sum:"), 300 * 301 / 2);
        assert_eq!(number(&stdout, "destroyed:"), 300);
    }
}

/// Many threads block unseen, so that there are many threads of the system; then threads fork, and each child makes a
/// thread, for which the C library uses the stacks of threads that it takes for gone.
const FORKS: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *nothing(void *argument) { return argument; }

static void *contends(void *argument) {
    for (int round = 0; round < 5; round++) {
        pthread_mutex_lock(&lock);
        usleep(300);
        pthread_mutex_unlock(&lock);
    }
    return argument;
}

static void *forks(void *argument) {
    usleep(1000);
    pid_t child = fork();
    if (child == 0) {
        pthread_t inner;
        for (int round = 0; round < 5; round++)
            if (pthread_create(&inner, NULL, nothing, NULL) || pthread_join(inner, NULL)) _exit(1);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return (void *) (long) (status != 0);
}

int main(void) {
    enum { BLOCKED = 100, FORKING = 10, ROUNDS = 3 };
    pthread_t all[BLOCKED];
    long bad = 0;
    for (int round = 0; round < ROUNDS; round++) {
        for (int number = 0; number < BLOCKED; number++) pthread_create(&all[number], NULL, contends, NULL);
        for (int number = 0; number < BLOCKED; number++) pthread_join(all[number], NULL);
        for (int number = 0; number < FORKING; number++) pthread_create(&all[number], NULL, forks, NULL);
        for (int number = 0; number < FORKING; number++) {
            void *value;
            pthread_join(all[number], &value);
            bad += (long) value;
        }
    }
    printf("bad: %ld\n", bad);
    return 0;
}
"#;

#[test]
fn children_of_adopted_threads_make_threads() {
    let program = compiled("forks", FORKS);
    for workers in ["2", "8"] {
        let (output, stdout, stderr) = output(silken().args(["run", "--workers", workers]).arg(&program));
        assert!(output.status.success(), "{:?} {stdout}{stderr}", output.status);
        assert_eq!(number(&stdout, "bad:"), 0);
    }
}

#[test]
fn what_cannot_run_is_refused_with_a_reason() {
    let (output_of_none, _, stderr) = output(silken().args(["run", "/no/such/program"]));
    assert_eq!(output_of_none.status.code(), Some(127));
    assert!(stderr.contains("does not start"), "{stderr}");
    let (nothing, _, stderr) = output(silken().arg("run"));
    assert_eq!(nothing.status.code(), Some(127));
    assert!(stderr.contains("which program?"), "{stderr}");
    let (source, program) = (own_folder().join("static.c"), own_folder().join("static"));
    std::fs::write(&source, "int main(void) { return 0; }").expect("the folder is there");
    let compiled = Command::new("cc")
        .args(["-static", "-o"])
        .args([&program, &source])
        .status();
    // A machine without the C library's archive cannot make such a program.
    if compiled.is_ok_and(|status| status.success()) {
        let (refused, _, stderr) = output(silken().arg("run").arg(&program));
        assert_eq!(refused.status.code(), Some(127));
        assert!(stderr.contains("linked statically"), "{stderr}");
    }
}

/// Python's threads, if there is a Python.
#[test]
fn threads_of_python_are_coroutines() {
    let text = "
import threading, os
barrier = threading.Barrier(201)
threads = [threading.Thread(target=barrier.wait) for _ in range(200)]
for thread in threads: thread.start()
print('threads of the system:', len(os.listdir('/proc/self/task')))
barrier.wait()
for thread in threads: thread.join()
print('joined:', len(threads))
";
    let has_python = Command::new("python3")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success());
    if !has_python {
        println!("skipped: there is no python3");
        return;
    }
    // The interpreter itself, not a script that would start it as a child.
    let asked = Command::new("python3")
        .args(["-c", "import sys; print(sys.executable)"])
        .output();
    let python = String::from_utf8_lossy(&asked.expect("it starts").stdout)
        .trim()
        .to_string();
    let (output, stdout, stderr) = output(silken().arg("run").arg(python).args(["-c", text]));
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(number(&stdout, "threads of the system:") < 30, "{stdout}");
    assert_eq!(number(&stdout, "joined:"), 200);
}

/// Calls by number, which no hook answers.
const BLOCKS: &str = r#"
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void *blocks(void *argument) {
    struct timespec time = { 0, 60000000 };
    syscall(SYS_nanosleep, &time, NULL);
    return argument;
}

int main(void) {
    enum { COUNT = 4 };
    pthread_t all[COUNT];
    for (int number = 0; number < COUNT; number++)
        if (pthread_create(&all[number], NULL, blocks, NULL)) return 2;
    for (int number = 0; number < COUNT; number++)
        if (pthread_join(all[number], NULL)) return 3;
    pid_t child = fork();
    if (child == 0) exit(0);
    int status;
    return waitpid(child, &status, 0) == child ? 7 : 4;
}
"#;

#[test]
fn a_report_says_what_blocked_workers() {
    let program = compiled("blocks", BLOCKS);
    let (output, _, stderr) = output(silken().args(["run", "--workers", "1", "--report"]).arg(&program));
    assert_eq!(output.status.code(), Some(7), "{stderr}");
    assert_eq!(
        stderr.matches("report (SILKEN_REPORT)").count(),
        1,
        "a child says nothing: {stderr}"
    );
    assert!(
        stderr.contains("1 workers, at most") && stderr.contains("; 4 coroutines"),
        "{stderr}"
    );
    let blocked = stderr.lines().find(|line| line.contains("  nanosleep"));
    let count = blocked.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    assert!(count.is_some_and(|count| count >= 3), "{stderr}");
    let (_, _, stderr) = self::output(silken().args(["run", "--workers", "1"]).arg(&program));
    assert_eq!(stderr, "");
}
