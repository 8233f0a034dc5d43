//! Many coroutines as one: sets, scopes of results, parallel maps, tokens, permits that are owned, blocking calls
//! elsewhere.

#[macro_use]
extern crate silken;

mod arms;
mod blocking;
#[path = "../common/mod.rs"]
mod common;
mod join_set;
mod maps;
mod results;
mod tokens;

/// Longer than any test may take.
const FAR: std::time::Duration = std::time::Duration::from_secs(3600);

/// Runs a case on runtimes of one, two and four workers, with isolated and with light coroutines.
fn on_all(case: impl Fn() + Send + Sync) {
    common::on_runtimes([1, 2, 4], case);
}

/// The macros' names are in scope, and the language's own attribute is what it was.
#[test]
fn a_test_without_the_path_is_a_plain_one() {
    assert!(!silken::is_coroutine());
    assert!(go!(silken::is_coroutine).join().unwrap());
}

/// What error types ask of an error.
#[test]
fn a_join_error_goes_into_any_error_type() {
    fn fails() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        silken::spawn(|| panic!("no value")).join()?;
        Ok(())
    }
    let error = fails().unwrap_err();
    assert!(
        error
            .downcast_ref::<silken::JoinError>()
            .is_some_and(silken::JoinError::is_panic)
    );
}

/// Where people look for them.
#[test]
fn second_names_are_the_same_things() {
    let (sender, receiver) = silken::sync::mpsc::channel();
    let (once, answer) = silken::sync::oneshot::channel();
    let (news, mut reader) = silken::sync::broadcast::channel(1);
    let (state, _) = silken::sync::watch::channel(1);
    sender.send(7).unwrap();
    once.send(receiver.recv().unwrap()).unwrap();
    news.send(answer.recv().unwrap()).unwrap();
    assert_eq!((reader.recv(), *state.borrow()), (Ok(7), 1));
    assert!(silken::time::timeout(std::time::Duration::from_millis(1), || silken::sleep(FAR)).is_err());
}

/// The usual names, none of which is the language's.
mod with_the_prelude {
    use silken::prelude::*;

    #[test]
    fn names_no_test() {
        let (sender, receiver) = bounded(1);
        spawn(move || sender.send(1).unwrap()).join().unwrap();
        assert_eq!(receiver.recv(), Ok(1));
    }
}
