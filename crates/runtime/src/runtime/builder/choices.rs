//! Which of the settings, the environment and the machine decides, where that takes more than a look?

use super::RuntimeBuilder;
use crate::driver::{self, IoDriver};
use crate::runtime::environment::{from_environment, light_from_environment, parse_slice};
use crate::sched::{self, Kinds};
use std::io;
use std::time::Duration;

impl RuntimeBuilder {
    /// Begins with so many workers, of at most `workers_max` later.
    #[cfg(test)]
    pub(crate) fn workers_up_to(mut self, workers: usize, workers_max: usize) -> Self {
        self.workers = Some(workers);
        self.workers_max = Some(workers_max);
        self
    }

    /// How long a coroutine may run, and a call block a worker.
    pub(super) fn slices(&self) -> io::Result<(Option<Duration>, Option<Duration>)> {
        let slice = match self.preemption {
            Some(slice) => slice,
            None => from_environment("SILKEN_PREEMPT", "off, or a time, as in 10ms or 500us", parse_slice)?
                .unwrap_or(Some(sched::SLICE_DEFAULT)),
        };
        let hand_off_after = match self.hand_off {
            Some(after) => after,
            None => from_environment("SILKEN_HANDOFF", "off, or a time, as in 1ms", parse_slice)?
                .unwrap_or(Some(sched::HAND_OFF_AFTER_DEFAULT)),
        };
        Ok((
            slice.map(|slice| slice.max(sched::SLICE_MIN)),
            hand_off_after.map(|after| after.max(sched::HAND_OFF_AFTER_MIN)),
        ))
    }

    pub(super) fn io_driver(&self) -> io::Result<IoDriver> {
        let io_driver = match self.io_driver {
            Some(driver) => Some(driver),
            None => from_environment("SILKEN_DRIVER", "epoll or io_uring", |text| match text {
                "epoll" => Some(IoDriver::Epoll),
                "io_uring" => Some(IoDriver::IoUring),
                _ => None,
            })?,
        };
        if io_driver == Some(IoDriver::IoUring)
            && let Some(errno) = driver::ring::why_none()
        {
            return Err(sched::no_ring(errno.into()));
        }
        Ok(io_driver.unwrap_or(IoDriver::IoUring))
    }

    pub(super) fn kinds(&self) -> io::Result<Kinds> {
        if self.light || light_from_environment()? {
            return Ok(Kinds::Light);
        }
        let Some(reason) = sched::why_not_isolated() else {
            return Ok(Kinds::Isolated);
        };
        if sched::is_light_allowed() {
            return Ok(Kinds::Light);
        }
        if self.refuses_each_spawn {
            return Ok(Kinds::LightOnRequest);
        }
        Err(sched::not_isolated(&reason))
    }
}
