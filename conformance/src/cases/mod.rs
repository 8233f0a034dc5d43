//! The cases, one file per topic. A case takes an executor and panics where something behaved otherwise than promised:
//! in the topics about std, libc and unmodified crates than a thread would have.

pub mod atomic_option;
pub mod bad_pointers;
pub mod batches;
pub mod blocker;
pub mod broadcast;
pub mod cancel;
pub mod chan;
pub mod chan_storm;
pub mod condvar;
pub mod connects;
pub mod crossbeam;
pub mod deadline;
pub mod disk;
pub mod ended_receives;
pub mod ends;
pub mod fd;
pub mod fifos;
pub mod foreign;
pub mod full_queue;
pub mod futex;
pub mod grow;
pub mod held_locks;
pub mod io_copies;
pub mod joins;
pub mod libc_io;
pub mod lingers;
pub mod migration;
pub mod mixed;
pub mod mpsc;
pub mod mutex;
pub mod notify;
pub mod numbers;
pub mod once;
pub mod oneshot;
pub mod own_barrier;
pub mod own_condvar;
pub mod own_mutex;
pub mod own_net;
pub mod own_once;
pub mod own_rwlock;
pub mod own_semaphore;
pub mod own_time;
pub mod panics;
pub mod park;
pub mod parking_lot_crate;
pub mod pipe;
pub mod poll_files;
pub mod process;
pub mod queues;
pub mod receive_flags;
pub mod resets;
pub mod rwlock;
pub mod scopes;
pub mod select;
pub mod select_dynamic;
pub mod sendfiles;
pub mod signals;
pub mod sleep;
pub mod spin;
pub mod splices;
pub mod std_names;
pub mod stdio;
pub mod sync_flag;
pub mod tcp;
pub mod ticker;
pub mod tls;
pub mod turns;
pub mod udp;
pub mod units;
pub mod unix;
pub mod wait_group;
pub mod watch;

/// std's sockets, for the cases that run over these and over silken's.
pub mod sockets {
    pub use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
    pub use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
}

pub use own_net::{tcp as own_tcp, udp as own_udp, unix as own_unix};
