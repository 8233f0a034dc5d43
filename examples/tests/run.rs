//! Each program runs to its end and says that all is well: it checks its own work.

use std::process::Command;

fn runs(program: &str) {
    let output = Command::new(program).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program}: {}\n{said}\n{complaints}",
        output.status
    );
    assert!(!said.trim().is_empty(), "{program} says what it did");
}

macro_rules! programs {
    ($($name:ident),*) => {$(
        #[test]
        fn $name() {
            runs(env!(concat!("CARGO_BIN_EXE_", stringify!($name))));
        }
    )*};
}

programs!(
    batch,
    chat,
    crawler,
    go_pipeline,
    left_behind,
    may_port,
    proxy,
    tokio_port
);
