//! What becomes of coroutines that are parked when `main` returns. Their destructors run, unless the program is built
//! with `panic = "abort"`: nothing can be unwound then, so the coroutines are left where they are, and silken says so
//! once. CI runs this program both ways.
//!
//! Run it: `cargo run -p silken-examples --bin left_behind`, and with `--profile abort`.

#![forbid(unsafe_code)]

use std::time::Duration;

struct Goodbye(&'static str);

impl Drop for Goodbye {
    fn drop(&mut self) {
        println!("{} says goodbye", self.0);
    }
}

#[silken::main(workers = 2)]
fn main() {
    for name in ["the first", "the second"] {
        silken::spawn(move || {
            let _goodbye = Goodbye(name);
            silken::park();
        });
    }
    let accepts = silken::spawn(|| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.accept()
    });
    silken::sleep(Duration::from_millis(10));
    let cannot_unwind = cfg!(panic = "abort");
    // Hooked calls fail instead of unwinding, so they are cancelled in both worlds.
    accepts.cancel();
    let error = accepts.join().unwrap().unwrap_err();
    assert!(silken::is_cancellation(&error), "{error}");
    println!(
        "main returns; the others {}",
        if cannot_unwind { "stay" } else { "are cancelled" }
    );
}
