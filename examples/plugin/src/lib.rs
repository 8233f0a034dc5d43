//! A plug-in for a program in another language: it is loaded by `dlopen`, and runs coroutines inside that program.
//!
//! The program's C library comes first in the order of symbols, so silken's hooks are not called: a plug-in waits in
//! silken's own types. silken says so once on standard error, and `Runtime::describe` tells. The thread-locals of a
//! library that is loaded late have no fixed place, so coroutines cannot be isolated: they are light, by an unsafe
//! call.

use silken::channel::bounded;
use std::time::Duration;

/// Adds the numbers below `count`, each on a coroutine of its own. Returns -1 if coroutines cannot be had here.
#[unsafe(no_mangle)]
pub extern "C" fn plugin_sum(count: u32) -> i64 {
    // SAFETY: S12: what runs on these coroutines waits in silken's own types only, and keeps nothing in thread-locals.
    let builder = unsafe { silken::Runtime::builder().light() };
    let runtime = match builder.workers(2).name("plugin").build() {
        Ok(runtime) => runtime,
        Err(error) => {
            println!("no runtime: {error}");
            return -1;
        }
    };
    println!("{}", runtime.describe());
    let sum = runtime.run(move || {
        let (sender, receiver) = bounded(4);
        for number in 0..count {
            let sender = sender.clone();
            silken::spawn(move || {
                silken::sleep(Duration::from_millis(1));
                let _ = sender.send(i64::from(number));
            });
        }
        drop(sender);
        receiver.iter().sum()
    });
    sum.unwrap_or(-1)
}
