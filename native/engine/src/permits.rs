//! Permits for guests off the JavaScript threads. Threads that are refused are served in the order in which they first
//! asked, and one principal never holds the last of several permits, so that calls of a plugin that never returns leave
//! a permit for others.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a refused thread keeps its position without a new request. Threads retry every millisecond, and one whose
/// event loop is blocked must not delay others.
const POSITION_TIMEOUT: Duration = Duration::from_millis(20);

/// The result of a request for a permit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Turn {
    /// The permit is acquired.
    Granted,
    /// The principal holds all permits except one, which only another principal may acquire.
    Share,
    /// All permits are in use, or threads that asked earlier wait for those that are free.
    Wait,
}

/// The permits of the process.
#[derive(Default)]
pub struct Permits(Mutex<State>);

#[derive(Default)]
struct State {
    taken: u32,
    /// Permits by principal; a principal without one has no entry.
    held: HashMap<String, u32>,
    /// Refused threads in order, with the time of their last request.
    waiting: VecDeque<(u64, Instant)>,
}

impl Permits {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is complete before the lock is released, so the state is valid after any panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Acquires one of `limit` permits for work of `principal` on behalf of the JavaScript thread `thread`.
    pub fn acquire(&self, limit: u32, principal: &str, thread: u64) -> Turn {
        let mut state = self.lock();
        let held = state.held.get(principal).copied().unwrap_or(0);
        if limit >= 2 && held + 1 >= limit {
            return Turn::Share;
        }
        let now = Instant::now();
        state.waiting.retain(|(_, asked)| now.duration_since(*asked) < POSITION_TIMEOUT);
        let free = limit.saturating_sub(state.taken) as usize;
        let position = state.waiting.iter().position(|(waiting, _)| *waiting == thread);
        if position.unwrap_or(state.waiting.len()) >= free {
            match position {
                Some(position) => state.waiting[position].1 = now,
                None => state.waiting.push_back((thread, now)),
            }
            return Turn::Wait;
        }
        if let Some(position) = position {
            state.waiting.remove(position);
        }
        state.taken += 1;
        state.held.insert(principal.to_owned(), held + 1);
        Turn::Granted
    }

    /// Returns a permit of `principal`.
    pub fn release(&self, principal: &str) {
        let mut state = self.lock();
        state.taken -= 1;
        match state.held.get(principal).copied() {
            Some(held) if held > 1 => drop(state.held.insert(principal.to_owned(), held - 1)),
            _ => drop(state.held.remove(principal)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_principal_never_holds_the_last_of_several_permits() {
        let permits = Permits::default();
        assert_eq!(permits.acquire(3, "a", 1), Turn::Granted);
        assert_eq!(permits.acquire(3, "a", 1), Turn::Granted);
        assert_eq!(permits.acquire(3, "a", 2), Turn::Share);
        assert_eq!(permits.acquire(3, "b", 1), Turn::Granted);
        permits.release("a");
        assert_eq!(permits.acquire(3, "a", 1), Turn::Granted);
    }

    #[test]
    fn any_principal_may_hold_a_single_permit() {
        let permits = Permits::default();
        assert_eq!(permits.acquire(1, "a", 1), Turn::Granted);
        assert_eq!(permits.acquire(1, "a", 1), Turn::Wait);
        permits.release("a");
        assert_eq!(permits.acquire(1, "a", 1), Turn::Granted);
    }

    #[test]
    fn threads_are_served_in_order() {
        let permits = Permits::default();
        assert_eq!(permits.acquire(1, "a", 1), Turn::Granted);
        assert_eq!(permits.acquire(1, "b", 2), Turn::Wait);
        permits.release("a");
        assert_eq!(permits.acquire(1, "a", 1), Turn::Wait, "thread 2 asked first");
        assert_eq!(permits.acquire(1, "b", 2), Turn::Granted);
    }

    #[test]
    fn a_thread_that_stops_asking_loses_its_position() {
        let permits = Permits::default();
        assert_eq!(permits.acquire(1, "a", 1), Turn::Granted);
        assert_eq!(permits.acquire(1, "b", 2), Turn::Wait);
        permits.release("a");
        std::thread::sleep(POSITION_TIMEOUT);
        assert_eq!(permits.acquire(1, "a", 1), Turn::Granted);
    }
}
