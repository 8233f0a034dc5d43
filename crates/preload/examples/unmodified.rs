//! A program that knows nothing of coroutines, for the tests: it makes threads, and says how many the system has.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;

const THREADS: usize = 500;

fn threads_of_process() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

fn main() -> std::io::Result<()> {
    let barrier = Arc::new(Barrier::new(THREADS + 1));
    let (sender, receiver) = mpsc::channel();
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let (barrier, sender) = (barrier.clone(), sender.clone());
            thread::spawn(move || {
                barrier.wait();
                sender.send(number).expect("the receiver waits");
            })
        })
        .collect();
    drop(sender);
    while threads_of_process() == 1 {
        thread::yield_now();
    }
    println!("threads of the system: {}", threads_of_process());
    barrier.wait();
    println!("sum: {}", receiver.iter().sum::<usize>());
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));

    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    let clients: Vec<_> = (0..100_u8)
        .map(|client| {
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address)?;
                stream.write_all(&[client; 100])?;
                let mut got = [0; 100];
                stream.read_exact(&mut got)?;
                Ok::<_, std::io::Error>(got == [client; 100])
            })
        })
        .collect();
    let right = clients
        .into_iter()
        .filter(|_| true)
        .map(|client| client.join().expect("no panic"));
    println!("echoes: {}", right.filter(|right| matches!(right, Ok(true))).count());

    let child = std::process::Command::new("sh")
        .arg("-c")
        .arg("echo \"preload: <$LD_PRELOAD>\"")
        .output()?;
    print!("{}", String::from_utf8_lossy(&child.stdout));
    Ok(())
}
