//! The cases, one file per topic. A case takes an executor and panics where something behaved otherwise than promised:
//! in the topics about std, libc and unmodified crates than a thread would have.

pub mod broadcast;
pub mod chan;
pub mod chan_storm;
pub mod condvar;
pub mod crossbeam;
pub mod fd;
pub mod foreign;
pub mod futex;
pub mod libc_io;
pub mod migration;
pub mod mixed;
pub mod mpsc;
pub mod mutex;
pub mod once;
pub mod oneshot;
pub mod own_time;
pub mod panics;
pub mod park;
pub mod parking_lot_crate;
pub mod pipe;
pub mod process;
pub mod rwlock;
pub mod select;
pub mod select_dynamic;
pub mod sleep;
pub mod spin;
pub mod stdio;
pub mod tcp;
pub mod ticker;
pub mod tls;
pub mod udp;
pub mod units;
pub mod unix;
pub mod watch;
