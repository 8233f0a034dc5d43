//! Messages of many kilobytes: what a channel does with them fits on an ordinary stack, also in a build that moves a
//! value at each step.
//!
//! A coroutine that overflows says so to its joiner.

use silken::channel::*;
use silken::{Builder, Promise};
use std::time::Duration;

type Message<const SIZE: usize> = [u8; SIZE];

/// Calls the body on a coroutine with such a stack.
fn fits(stack_bytes: usize, name: &str, body: fn() -> u8) {
    let outcome = Builder::new().stack_size(stack_bytes).spawn(body).unwrap().join();
    assert_eq!(
        outcome.map_err(|error| (name.to_owned(), stack_bytes, error.to_string())),
        Ok(7)
    );
}

/// A message, made behind a call that is over.
#[inline(never)]
fn message<const SIZE: usize>() -> Message<SIZE> {
    [7; SIZE]
}

fn through<const SIZE: usize>((tx, rx): (Sender<Message<SIZE>>, Receiver<Message<SIZE>>)) -> u8 {
    tx.send(message()).unwrap();
    rx.recv().unwrap()[SIZE / 2]
}

fn by_hand_over<const SIZE: usize>() -> u8 {
    let (tx, rx) = bounded::<Message<SIZE>>(0);
    let receiver = silken::spawn(move || rx.recv().unwrap()[SIZE / 2]);
    tx.send(message()).unwrap();
    receiver.join().unwrap()
}

/// Each select for itself: what it expands to is in the caller's own frame.
fn by_select<const SIZE: usize>() -> u8 {
    #[inline(never)]
    fn send<const SIZE: usize>(tx: &Sender<Message<SIZE>>) {
        silken::select! {
            send(tx, message()) -> sent => sent.unwrap(),
        }
    }

    #[inline(never)]
    fn receive<const SIZE: usize>(rx: &Receiver<Message<SIZE>>) -> u8 {
        silken::select! {
            recv(rx) -> received => received.unwrap()[SIZE / 2],
        }
    }

    let (tx, rx) = unbounded::<Message<SIZE>>();
    send(&tx);
    receive(&rx)
}

fn by_std_names<const SIZE: usize>() -> u8 {
    let (tx, rx) = spsc::channel::<Message<SIZE>>();
    tx.send(message()).unwrap();
    rx.recv().unwrap()[SIZE / 2]
}

fn by_oneshot<const SIZE: usize>() -> u8 {
    let (tx, rx) = oneshot::channel::<Message<SIZE>>();
    tx.send(message()).unwrap();
    rx.recv().unwrap()[SIZE / 2]
}

fn by_broadcast<const SIZE: usize>() -> u8 {
    let (tx, mut rx) = broadcast::channel::<Message<SIZE>>(16);
    tx.send(message()).unwrap();
    rx.recv().unwrap()[SIZE / 2]
}

fn by_watch<const SIZE: usize>() -> u8 {
    let (tx, rx) = watch::channel::<Message<SIZE>>(message());
    tx.send(message()).unwrap();
    rx.borrow()[SIZE / 2]
}

fn by_promise<const SIZE: usize>() -> u8 {
    Promise::<Message<SIZE>, ()>::spawn(|| Ok(message())).wait().unwrap()[SIZE / 2]
}

fn by_pool<const SIZE: usize>() -> u8 {
    let pool = silken::Pool::new(1);
    pool.submit(message::<SIZE>).unwrap().join().unwrap()[SIZE / 2]
}

fn by_after_func<const SIZE: usize>() -> u8 {
    let (tx, rx) = unbounded();
    let message = message::<SIZE>();
    silken::time::after_func(Duration::ZERO, move || tx.send(message[SIZE / 2]).unwrap());
    rx.recv().unwrap()
}

fn all_kinds<const SIZE: usize>(stack_bytes: usize) {
    fits(stack_bytes, "unbounded", || through::<SIZE>(unbounded()));
    fits(stack_bytes, "bounded", || through::<SIZE>(bounded(1)));
    fits(stack_bytes, "bounded with blocks", || through::<SIZE>(bounded(100_000)));
    fits(stack_bytes, "hand-over", by_hand_over::<SIZE>);
    fits(stack_bytes, "spsc", by_std_names::<SIZE>);
    fits(stack_bytes, "oneshot", by_oneshot::<SIZE>);
    fits(stack_bytes, "broadcast", by_broadcast::<SIZE>);
    fits(stack_bytes, "watch", by_watch::<SIZE>);
    fits(stack_bytes, "promise", by_promise::<SIZE>);
    fits(stack_bytes, "pool", by_pool::<SIZE>);
    fits(stack_bytes, "after_func", by_after_func::<SIZE>);
}

#[test]
fn of_eight_kilobytes_on_a_default_stack() {
    all_kinds::<8192>(256 * 1024);
    // Its expansion has some ten places for the message in the caller's own frame.
    fits(256 * 1024, "select", by_select::<8192>);
}

#[test]
fn of_sixteen_kilobytes_on_a_default_stack() {
    all_kinds::<16384>(256 * 1024);
}

#[test]
fn of_a_kilobyte_on_a_small_stack() {
    all_kinds::<1024>(64 * 1024);
    fits(64 * 1024, "select", by_select::<1024>);
}
