//! What computes and never waits, beside what is measured? Six loops of different kinds, and a blocking call that no
//! hook sees.

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How many kinds of loop there are.
pub const KINDS: usize = 6;

/// Computes until `stop` is set: loads, floats, vectors, allocations, formatting, or sorting.
pub fn compute(kind: usize, stop: &AtomicBool) {
    // Relaxed: nothing but the end depends on it.
    while !stop.load(Ordering::Relaxed) {
        match kind {
            0 => {}
            1 => drop(black_box((1..500).map(|k| f64::from(k).sqrt().recip()).sum::<f64>())),
            2 => drop(black_box(
                (0..4096_u32).fold(0_u32, |sum, k| sum.wrapping_add(black_box(k) * 3)),
            )),
            3 => drop(black_box((1..60).map(|k| vec![k as u8; k * 17]).collect::<Vec<_>>())),
            4 => {
                let mut text = String::new();
                (0..50).for_each(|k| write!(text, "{k:05}:{:.3};", f64::from(k) / 7.0).expect("memory"));
                drop(black_box(text));
            }
            _ => {
                let mut numbers: Vec<u64> = (0..1000_u64).map(|k| k.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect();
                numbers.sort_unstable();
                drop(black_box(numbers));
            }
        }
    }
}

/// Sleeps in the kernel by an inline system call, as a library does that is not built on libc.
pub fn block_unseen(time: Duration) {
    let time = libc::timespec {
        tv_sec: time.as_secs() as i64,
        tv_nsec: i64::from(time.subsec_nanos()),
    };
    // SAFETY: S7: a live place for the time, and none for what is left of it; the kernel changes these registers only.
    unsafe {
        std::arch::asm!(
            "syscall",
            inout("rax") libc::SYS_nanosleep => _,
            in("rdi") &time,
            in("rsi") 0,
            out("rcx") _,
            out("r11") _,
        );
    }
}

/// How late each of so many sleeps of a millisecond ends.
pub fn lateness(count: usize, sleep: impl Fn(Duration)) -> Vec<Duration> {
    const WANTED: Duration = Duration::from_millis(1);
    let late = |_| {
        let begin = Instant::now();
        sleep(WANTED);
        begin.elapsed().saturating_sub(WANTED)
    };
    (0..count).map(late).collect()
}

const MESSAGE_BYTES: usize = 64;

/// Asks an echo server so many times, with a pause between, and returns how long each answer took.
fn ask(server: SocketAddr, count: usize) -> Vec<Duration> {
    let mut stream = TcpStream::connect(server).expect("it listens");
    stream.set_nodelay(true).expect("a TCP socket");
    let mut message = [7; MESSAGE_BYTES];
    let mut took = |_| {
        std::thread::sleep(Duration::from_millis(3));
        let begin = Instant::now();
        stream.write_all(&message).expect("the server reads");
        stream.read_exact(&mut message).expect("the server answers");
        begin.elapsed()
    };
    (0..count).map(&mut took).collect()
}

/// An echo server with one client, which is an OS thread. Returns how long the client waited for each answer.
pub fn echo(count: usize) -> Vec<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let client = std::thread::spawn(move || ask(address, count));
    let (mut stream, _) = listener.accept().expect("a client");
    let mut message = [0; MESSAGE_BYTES];
    while stream.read_exact(&mut message).is_ok() {
        stream.write_all(&message).expect("the client reads");
    }
    client.join().expect("no panic")
}

/// The value at 99 of 100, in ms, and the worst.
pub fn tail_ms(mut times: Vec<Duration>) -> crate::figure::Sample {
    times.sort_unstable();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let at = (times.len() - 1) * 99 / 100;
    vec![
        ("value".to_owned(), ms(times[at])),
        ("p50_ms".to_owned(), ms(times[times.len() / 2])),
        ("worst_ms_max".to_owned(), ms(times[times.len() - 1])),
    ]
}
