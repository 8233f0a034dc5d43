//! Foreign blocking code on coroutines, through the interposed symbols.

mod io;
mod runtimes;
mod waits;
