//! Waits shorter than a millisecond, which the runtime's timer cannot measure.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// A timer of the kernel; without one (no descriptor left) it rings at once.
#[derive(Debug)]
pub(super) struct Alarm {
    timer: Option<AsyncFd<OwnedFd>>,
}

impl Alarm {
    #[expect(
        deprecated,
        reason = "sound for an OwnedFd, which does not change its descriptor; the new function is unsafe"
    )]
    pub(super) fn new() -> Self {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).ok();
        Self {
            timer: timer.and_then(|timer| AsyncFd::new(timer).ok()),
        }
    }

    /// Returns after `length`, which is more than zero and less than a second. May be dropped half-way.
    pub(super) async fn after(&mut self, length: Duration) {
        let Some(timer) = &self.timer else { return };
        let once = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: Timespec {
                tv_sec: 0,
                tv_nsec: i64::from(length.subsec_nanos().max(1)),
            },
        };
        if timerfd_settime(timer.get_ref(), TimerfdTimerFlags::empty(), &once).is_err() {
            return;
        }
        loop {
            let Ok(mut ready) = timer.readable().await else {
                return;
            };
            // Readiness may be left from a wait that was dropped; the number of expirations tells.
            let rung = ready.try_io(|timer| {
                let read = rustix::io::read(timer.get_ref(), &mut [0_u8; 8]);
                read.map_err(Errno::into)
            });
            if rung.is_ok() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn rings_after_its_time_and_not_before_also_when_the_last_wait_was_dropped() {
        let mut alarm = Alarm::new();
        for _ in 0..3 {
            let dropped = alarm.after(Duration::from_micros(100));
            drop(tokio::time::timeout(Duration::ZERO, dropped).await);
            std::thread::sleep(Duration::from_millis(1));
            let start = Instant::now();
            alarm.after(Duration::from_millis(3)).await;
            assert!(start.elapsed() >= Duration::from_millis(3));
        }
    }
}
