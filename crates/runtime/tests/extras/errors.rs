//! Errors in Go's manner, and `defer!`.

use silken::errors::{Error, Result, Wrap};
use silken::{defer, err, errors};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Debug, PartialEq)]
enum Refusal {
    Full,
    Closed,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Refusal {}

fn refuse() -> Result<()> {
    Err(Refusal::Full)?;
    Ok(())
}

#[test]
fn foreign_errors_are_found_under_their_wrappings() {
    let error = refuse().wrap("inner").wrap("outer").unwrap_err();
    assert_eq!(error.to_string(), "outer: inner: Full");
    assert_eq!(format!("{error:?}"), error.to_string());
    assert!(error.is(&Refusal::Full) && !error.is(&Refusal::Closed));
    assert_eq!(error.as_::<Refusal>(), Some(&Refusal::Full));
    assert!(error.downcast_ref::<io::Error>().is_none());
    assert_eq!(error.unwrap().unwrap().to_string(), "inner: Full");
}

#[test]
fn a_foreign_errors_own_source_is_looked_at() {
    let error = Error::from(io::Error::other(Refusal::Closed));
    assert!(error.as_::<io::Error>().is_some());
    // `io::Error` skips its payload as a source, as std documents; a box converts by hand.
    assert!(Error::from_boxed(Box::new(Refusal::Closed)).is(&Refusal::Closed));
}

#[test]
fn an_error_is_itself_and_its_clones() {
    let closed = errors::new("closed");
    let wrapped = closed.clone().wrap("reading").wrap("serving");
    assert!(wrapped.is(&closed) && wrapped.is(&wrapped) && !closed.is(&wrapped));
    assert!(!wrapped.is(&err!("closed")));
}

#[test]
fn errors_become_those_of_std() {
    fn boxed() -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Err(refuse().wrap("why").unwrap_err())?;
        Ok(())
    }
    let error = boxed().unwrap_err();
    assert_eq!(error.to_string(), "why: Full");
    assert_eq!(error.source().unwrap().downcast_ref(), Some(&Refusal::Full));
    assert_eq!(io::Error::from(err!("{}", 7)).to_string(), "7");
    assert_eq!(
        None::<()>.wrap("nothing there").unwrap_err().to_string(),
        "nothing there"
    );
}

#[test]
fn errors_cross_coroutines() {
    let error = silken::spawn(|| refuse().wrap("in a coroutine"))
        .join()
        .unwrap()
        .unwrap_err();
    assert!(error.is(&Refusal::Full));
}

#[test]
fn what_is_deferred_runs_when_a_coroutine_is_cancelled() {
    static RAN: AtomicUsize = AtomicUsize::new(0);
    let handle = silken::Scheduler::spawn(|| {
        defer!(move || RAN.fetch_add(1, Ordering::SeqCst));
        defer! {
            assert_eq!(RAN.load(Ordering::SeqCst), 0);
        }
        silken::sleep_ms(60_000);
    });
    handle.cancel();
    assert!(handle.join().unwrap_err().is_cancelled());
    assert_eq!(RAN.load(Ordering::SeqCst), 1);
}

#[test]
fn a_deferral_can_be_taken_back() {
    let ran = AtomicUsize::new(0);
    silken::Deferred::new(|| ran.fetch_add(1, Ordering::SeqCst)).cancel();
    assert_eq!(ran.load(Ordering::SeqCst), 0);
}
