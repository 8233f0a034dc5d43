//! What `#[silken::main]` makes of what `main` returns.

use super::{Case, End};
use std::process::ExitCode;

/// As the language does with what `main` returns; for the codes that are used here.
fn end_with(code: ExitCode) {
    let codes = [0, 1, 7];
    let is_it = |number: &u8| ExitCode::from(*number) == code;
    let number = codes.into_iter().find(is_it).expect("one of these");
    std::process::exit(number.into());
}

mod boxed {
    #[silken::main(workers = 1, grace = "100ms")]
    pub(super) fn main() -> Result<(), Box<dyn std::error::Error>> {
        let _: u32 = "seven".parse()?;
        Ok(())
    }
}

mod fine {
    #[silken::main(workers = 1)]
    pub(super) fn main() -> Result<(), Box<dyn std::error::Error>> {
        silken::yield_now();
        Ok(())
    }
}

mod code {
    use std::process::ExitCode;

    #[silken::main(workers = 1)]
    pub(super) fn main() -> ExitCode {
        ExitCode::from(7)
    }
}

mod inferred {
    use std::process::ExitCode;

    #[silken::main(workers = 1)]
    pub(super) fn main() -> impl Termination {
        ExitCode::SUCCESS
    }
}

mod never {
    #[silken::main(workers = 1)]
    pub(super) fn main() -> ! {
        std::process::exit(9)
    }
}

/// Its stack is as large as that of a process's main thread, and not as a coroutine's.
mod deep {
    use std::hint::black_box;

    fn descend(kib: usize) -> usize {
        let frame = black_box([1_u8; 1024]);
        let below = if kib == 0 { 0 } else { descend(kib - 1) };
        below + usize::from(frame[kib % frame.len()])
    }

    #[silken::main(workers = 1)]
    pub(super) fn main() {
        assert_eq!(descend(4 * 1024), 4 * 1024 + 1);
    }
}

fn deep_main() {
    let limit = libc::rlimit {
        rlim_cur: 16 << 20,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: S7: a live structure. Where the system's limit is lower, the usual 8 MiB are enough.
    unsafe { libc::setrlimit(libc::RLIMIT_STACK, &limit) };
    deep::main();
}

/// The process does not wait for it for ever.
mod work {
    use std::time::Duration;

    #[silken::main(workers = 1, grace = "50ms")]
    pub(super) fn main() {
        let (begins, begun) = std::sync::mpsc::channel();
        silken::spawn(|| {
            silken::blocking(move || {
                begins.send(()).unwrap();
                std::thread::sleep(Duration::from_secs(3600));
            })
        });
        begun.recv().unwrap();
    }
}

pub(super) fn cases() -> Vec<Case> {
    let exits = |name, run, code| Case::new(name, run, End::Exits(code));
    vec![
        exits("attribute::an_error_that_is_not_send", || end_with(boxed::main()), 1).says(&["Error: ParseIntError"]),
        exits("attribute::no_error", || end_with(fine::main()), 0),
        exits("attribute::a_code", || end_with(code::main()), 7),
        exits("attribute::an_inferred_type", || end_with(inferred::main()), 0),
        Case::new("attribute::work_that_goes_on", work::main, End::Returns).says(&[
            "work that was begun at ",
            "abort/attribute.rs:",
            "did not end: its caller was cancelled, it goes on",
        ]),
        Case::new("attribute::a_deep_main", deep_main, End::Returns),
        exits("attribute::never", || end_with(never::main()), 9),
    ]
}
