//! A batch job: it hashes all files of a directory tree, four at a time.
//!
//! The program makes the tree in the temporary folder and removes it at the end. A pool limits how many files it reads
//! at the same time. The results come in the order of the paths. A file that cannot be read is an error in the
//! report, and the job goes on. A ticker prints the progress meanwhile.
//! A read from a disk blocks the OS thread, so each file is read by a thread of its own, and the coroutine joins it.
//!
//! Run it: `cargo run --release -p silken-examples --bin batch`

#![forbid(unsafe_code)]

use silken::Pool;
use silken::time::Ticker;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const FOLDERS: usize = 10;
const FILES: usize = 20;
const AT_ONCE: usize = 4;

/// Makes folders with files of different lengths. One entry is a link that leads nowhere: it cannot be read.
fn make_tree(root: &Path) -> io::Result<()> {
    for folder in 0..FOLDERS {
        let folder_path = root.join(format!("folder{folder}"));
        fs::create_dir_all(&folder_path)?;
        for file in 0..FILES {
            let text = format!("file {file} of folder {folder}\n").repeat(file * 500);
            fs::write(folder_path.join(format!("file{file:02}")), text)?;
        }
    }
    std::os::unix::fs::symlink("nowhere", root.join("folder3/broken"))
}

/// Adds the paths of all files below `folder`, in order.
fn walk(folder: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), paths)?;
        } else {
            paths.push(entry.path());
        }
    }
    Ok(())
}

/// Reads a file piece by piece and hashes it.
fn hash_file(path: &Path) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let mut hasher = DefaultHasher::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            count => hasher.write(&buffer[..count]),
        }
    }
}

/// Hashes all files, at most `AT_ONCE` at the same time. The results have the order of the paths.
fn hash_all(paths: &[PathBuf], finished: &Arc<AtomicUsize>) -> Vec<io::Result<u64>> {
    let pool = Pool::new(AT_ONCE);
    let mut handles = Vec::new();
    for path in paths {
        let (path, finished) = (path.clone(), finished.clone());
        let submitted = pool.submit(move || {
            let reader = std::thread::spawn(move || hash_file(&path));
            let hash = reader
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the reader panicked")));
            finished.fetch_add(1, Ordering::Relaxed);
            hash
        });
        handles.push(submitted.expect("the pool is open"));
    }
    handles
        .into_iter()
        .map(|handle| handle.join().unwrap_or_else(|error| Err(io::Error::other(error))))
        .collect()
}

#[silken::main]
fn main() -> io::Result<()> {
    let root = std::env::temp_dir().join(format!("silken-batch-{}", std::process::id()));
    silken::defer!(fs::remove_dir_all(&root)); // at the end of main, whatever happens
    make_tree(&root)?;
    let mut paths = Vec::new();
    walk(&root, &mut paths)?;
    assert_eq!(paths.len(), FOLDERS * FILES + 1);
    assert!(paths.is_sorted());

    let finished = Arc::new(AtomicUsize::new(0));
    let ticker = Ticker::new(Duration::from_millis(10));
    let hashes = silken::scope(|s| {
        s.spawn(|| {
            for _tick in ticker.ticks() {
                println!("{} of {} files", finished.load(Ordering::Relaxed), paths.len());
            }
        });
        let hashes = hash_all(&paths, &finished);
        ticker.stop(); // ends the loop
        hashes
    });

    let mut failed = Vec::new();
    for (path, hash) in paths.iter().zip(&hashes) {
        match hash {
            Ok(hash) => assert_eq!(*hash, hash_file(path)?), // the same as one after the other
            Err(error) => failed.push(format!("{}: {error}", path.display())),
        }
    }
    assert_eq!(finished.load(Ordering::Relaxed), paths.len());
    assert!(failed.len() == 1 && failed[0].contains("folder3/broken"));
    println!(
        "{} files hashed, {} failed: {}",
        paths.len() - failed.len(),
        failed.len(),
        failed[0]
    );
    Ok(())
}
