//! SQLite, built into the program: many writers on one file, with its busy timeout, and a pool of connections.

use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::{Connection, params};
use silken_proofs::prove;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// A file of its own for each test; SQLite's companions of it go too.
struct Database(PathBuf);

impl Database {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("silken-proof-{}-{name}.sqlite", std::process::id()));
        let database = Self(path);
        let connection = connect(&database.0);
        connection
            .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE entry (unit INTEGER, step INTEGER);")
            .unwrap();
        database
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        for end in ["", "-wal", "-shm"] {
            // What is left behind is a temporary file.
            let _ = std::fs::remove_file(format!("{}{end}", self.0.display()));
        }
    }
}

fn connect(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(Duration::from_secs(60)).unwrap();
    connection.pragma_update(None, "synchronous", "NORMAL").unwrap();
    connection
}

#[test]
fn sqlite_has_many_writers() {
    const UNITS: usize = 60;
    const STEPS: usize = 5;
    let database = Database::new("writers");
    let path = database.0.clone();
    prove("rusqlite", UNITS, move |unit| {
        let mut connection = connect(&path);
        for step in 0..STEPS {
            let transaction = connection
                .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
                .unwrap();
            let before: usize = transaction
                .query_row("SELECT count(*) FROM entry WHERE unit = ?1", [unit], |row| row.get(0))
                .unwrap();
            transaction
                .execute("INSERT INTO entry VALUES (?1, ?2)", params![unit, step])
                .unwrap();
            transaction.commit().unwrap();
            assert!(before % STEPS == step, "nobody else writes this unit's entries");
        }
    });
    // Both runs wrote.
    let count: usize = connect(&database.0)
        .query_row("SELECT count(*) FROM entry", [], |row| row.get(0))
        .unwrap();
    assert_eq!(count, 2 * UNITS * STEPS);
}

#[test]
fn a_pool_lends_few_connections_to_many() {
    const CONNECTIONS: u32 = 4;
    let database = Database::new("pool");
    let manager = SqliteConnectionManager::file(&database.0).with_init(|connection| {
        connection.busy_timeout(Duration::from_secs(60))?;
        connection.pragma_update(None, "synchronous", "NORMAL")
    });
    let pool = r2d2::Pool::builder()
        .max_size(CONNECTIONS)
        .connection_timeout(Duration::from_secs(60))
        .build(manager)
        .unwrap();
    static HELD: AtomicUsize = AtomicUsize::new(0);
    prove("r2d2", 200, move |unit| {
        let connection = pool.get().unwrap();
        assert!(
            HELD.fetch_add(1, SeqCst) < CONNECTIONS as usize,
            "it lends no more than it has"
        );
        connection.execute("INSERT INTO entry VALUES (?1, 0)", [unit]).unwrap();
        HELD.fetch_sub(1, SeqCst);
    });
}
