//! Does the plug-in run in a program that is written in C?

use std::path::{Path, PathBuf};
use std::process::Command;

const HOST: &str = r#"
#include <dlfcn.h>
#include <stdio.h>

int main(int count, char **arguments) {
    void *library = dlopen(arguments[count - 1], RTLD_NOW);
    if (!library) {
        puts(dlerror());
        return 1;
    }
    long long (*sum)(unsigned) = (long long (*)(unsigned)) dlsym(library, "plugin_sum");
    for (int round = 0; round < 3; round++)
        printf("sum %lld\n", sum(100));
    return 0;
}
"#;

/// The library, which cargo builds with this test.
fn library() -> PathBuf {
    let test = std::env::current_exe().expect("this binary has a path");
    let folder = test.parent().expect("it is in a folder");
    let names = [
        folder.join("libsilken_plugin.so"),
        folder.join("../libsilken_plugin.so"),
    ];
    names
        .into_iter()
        .find(|path| path.exists())
        .expect("cargo has built the library")
}

fn host() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (source, host) = (folder.join("host.c"), folder.join("host"));
    std::fs::write(&source, HOST).expect("the folder is there");
    let compiled = Command::new("cc").arg("-o").args([&host, &source]).arg("-ldl").status();
    assert!(
        compiled
            .expect("a C compiler, as every Rust program needs to be linked")
            .success()
    );
    host
}

#[test]
fn a_program_in_c_runs_coroutines() {
    let output = Command::new(host()).arg(library()).output().expect("it starts");
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(output.status.success(), "{stdout}{stderr}");
    assert_eq!(stdout.matches("sum 4950\n").count(), 3, "{stdout}{stderr}");
    assert!(stdout.contains("std's blocking calls block their worker"), "{stdout}");
    assert_eq!(stderr.matches("cdylib").count(), 1, "silken says so once: {stderr}");
}
