//! Foreign blocking code on coroutines, through the interposed symbols.

mod io;
mod libraries;
mod limits;
mod recycling;
mod runtimes;
mod std_thread;
mod waits;
