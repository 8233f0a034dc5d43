//! Signals of the process as channels (feature `signal`): Ctrl-C, the request to terminate, a hang-up, and others.
//!
//! The crate signal-hook installs the handlers and keeps them async-signal-safe. One OS thread, made by the first call,
//! waits for all signals that were asked for, and sends a message to each receiver. A receiver that has one already
//! gets no second: as in the kernel, a signal that is pending is pending once.

use crate::channel::{Receiver, Sender, TrySendError, bounded};
use crate::sync::Mutex;
use libc::c_int;
use signal_hook::iterator::{Handle, Signals};
use std::collections::HashMap;
use std::io;
use std::sync::PoisonError;

/// Who is to be told of what; the handle registers further signals.
struct Listener {
    handle: Handle,
    receivers: HashMap<c_int, Vec<Sender<c_int>>>,
}

/// `None` before the first call.
static LISTENER: Mutex<Option<Listener>> = Mutex::new(None);

/// Starts the thread that waits.
fn start() -> io::Result<Listener> {
    let mut signals = Signals::new([] as [c_int; 0])?;
    let handle = signals.handle();
    std::thread::Builder::new()
        .name("silken-signals".to_string())
        .spawn(move || signals.forever().for_each(tell))?;
    Ok(Listener {
        handle,
        receivers: HashMap::new(),
    })
}

fn tell(signal: c_int) {
    let mut listener = LISTENER.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(listener) = listener.as_mut() else { return };
    if let Some(receivers) = listener.receivers.get_mut(&signal) {
        receivers.retain(|receiver| !matches!(receiver.try_send(signal), Err(TrySendError::Disconnected(_))));
    }
}

/// A channel with a message, the signal's number, for each time that the process gets the signal; several at a time may
/// be one. The signal no longer does what it does by default, as long as the process lives, also when the receiver is
/// gone.
///
/// # Errors
/// When the handler cannot be installed: no such signal, or one that cannot be caught (`SIGKILL`, `SIGSTOP`, `SIGSEGV`,
/// …); or the thread that waits cannot be made.
///
/// # Examples
/// ```
/// # const SIGUSR2: i32 = 12;
/// let hints = silken::signal::on(SIGUSR2)?;
/// // SAFETY: raise takes a number.
/// unsafe { libc::raise(SIGUSR2) };
/// assert_eq!(hints.recv(), Ok(SIGUSR2));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn on(signal: c_int) -> io::Result<Receiver<c_int>> {
    // The kernel has 64. signal-hook panics at others.
    if !(1..=64).contains(&signal) || signal_hook::consts::FORBIDDEN.contains(&signal) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("signal {signal} cannot be waited for"),
        ));
    }
    let (sender, receiver) = bounded(1);
    let mut listener = LISTENER.lock().unwrap_or_else(PoisonError::into_inner);
    let listener = match &mut *listener {
        Some(listener) => listener,
        none => none.insert(start()?),
    };
    listener.handle.add_signal(signal)?;
    let receivers = listener.receivers.entry(signal).or_default();
    receivers.retain(|receiver| receiver.receiver_count() > 0);
    receivers.push(sender);
    Ok(receiver)
}

/// [`on`](on()) `SIGINT`: what Ctrl-C in a terminal sends.
///
/// # Errors
/// As [`on`](on()).
///
/// # Examples
/// ```no_run
/// use silken::signal;
/// fn serve_until_stopped(jobs: &silken::channel::Receiver<u32>) -> std::io::Result<()> {
///     let (interrupt, terminate) = (signal::ctrl_c()?, signal::terminate()?);
///     loop {
///         silken::select! {
///             recv(jobs) -> job => println!("{job:?}"),
///             recv(interrupt) -> _ => return Ok(()),
///             recv(terminate) -> _ => return Ok(()),
///         }
///     }
/// }
/// # let (_tx, rx) = silken::channel::unbounded();
/// # serve_until_stopped(&rx)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn ctrl_c() -> io::Result<Receiver<c_int>> {
    on(libc::SIGINT)
}

/// [`on`](on()) `SIGTERM`: the polite request to end, of service managers and `kill`.
///
/// # Errors
/// As [`on`](on()).
pub fn terminate() -> io::Result<Receiver<c_int>> {
    on(libc::SIGTERM)
}

/// [`on`](on()) `SIGHUP`: by custom the request to read the configuration again.
///
/// # Errors
/// As [`on`](on()).
pub fn hangup() -> io::Result<Receiver<c_int>> {
    on(libc::SIGHUP)
}
