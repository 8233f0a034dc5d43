//! Signals of the process as channels (feature `signal`): Ctrl-C, the request to terminate, a hang-up, and others.
//!
//! The crate signal-hook installs the handlers and keeps them async-signal-safe. The first call starts one OS thread.
//! It waits for all signals that were asked for, and sends a message to each receiver. A receiver that already has a
//! message gets no second one: as in the kernel, a signal that is pending is pending once.

use crate::channel::{Receiver, Sender, TrySendError, bounded};
use crate::coroutine::c_thread::native;
use crate::sync::Mutex;
use libc::c_int;
use signal_hook::iterator::{Handle, Signals};
use std::collections::HashMap;
use std::io;
use std::sync::PoisonError;

/// Which receivers get which signal; the handle registers further signals.
struct Listener {
    handle: Handle,
    receivers: HashMap<c_int, Vec<Sender<c_int>>>,
}

/// `None` before the first call.
static LISTENER: Mutex<Option<Listener>> = Mutex::new(None);

/// Starts the thread that waits for signals.
fn start() -> io::Result<Listener> {
    let mut signals = Signals::new([] as [c_int; 0])?;
    let handle = signals.handle();
    let thread = std::thread::Builder::new().name("silken-signals".to_string());
    native(|| thread.spawn(move || signals.forever().for_each(tell)))?;
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

/// Returns a channel that receives the number of the signal each time that the process gets the signal. Several signals
/// that come before a receive may be one message.
///
/// From the first call on, the signal no longer does what it does by default. This holds for the life of the process,
/// also after the receiver was dropped. The first call starts the thread that waits; the call itself does not wait.
///
/// # Errors
/// If the handler cannot be installed: there is no such signal, or it cannot be caught (`SIGKILL`, `SIGSTOP`,
/// `SIGSEGV`, …). Also if the thread that waits cannot be made.
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

/// Returns a channel that receives `SIGINT`, which Ctrl-C in a terminal sends: see [`on`](on()).
///
/// # Errors
/// If the handler cannot be installed, or the thread that waits cannot be made.
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

/// Returns a channel that receives `SIGTERM`, by which service managers and `kill` ask a process to end: see
/// [`on`](on()).
///
/// # Errors
/// If the handler cannot be installed, or the thread that waits cannot be made.
///
/// # Examples
/// ```
/// let terminate = silken::signal::terminate()?;
/// // SAFETY: raise takes a number.
/// unsafe { libc::raise(libc::SIGTERM) };
/// assert_eq!(terminate.recv(), Ok(libc::SIGTERM));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn terminate() -> io::Result<Receiver<c_int>> {
    on(libc::SIGTERM)
}

/// Returns a channel that receives `SIGHUP`, by custom the request to read the configuration again: see [`on`](on()).
///
/// # Errors
/// If the handler cannot be installed, or the thread that waits cannot be made.
///
/// # Examples
/// ```
/// let reload = silken::signal::hangup()?;
/// // SAFETY: raise takes a number.
/// unsafe { libc::raise(libc::SIGHUP) };
/// assert_eq!(reload.recv(), Ok(libc::SIGHUP));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn hangup() -> io::Result<Receiver<c_int>> {
    on(libc::SIGHUP)
}
