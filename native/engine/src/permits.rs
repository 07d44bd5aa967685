//! Permits for guests off the JavaScript threads. Threads take turns, and one principal never holds the last permit, so
//! that calls of a plugin that never returns leave a permit for others.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a refused thread keeps its turn without a new request. Threads retry every millisecond; one whose event
/// loop is blocked must not hold up others.
const PATIENCE: Duration = Duration::from_millis(20);

/// The result of a request for a permit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Turn {
    /// The permit is acquired.
    Granted,
    /// The principal holds all permits except one, which only another principal may acquire.
    Share,
    /// All permits are in use, or other threads are first.
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
    pub fn take(&self, limit: u32, principal: &str, thread: u64) -> Turn {
        let mut state = self.lock();
        let held = state.held.get(principal).copied().unwrap_or(0);
        if limit >= 2 && held + 1 >= limit {
            return Turn::Share;
        }
        let now = Instant::now();
        state.waiting.retain(|(_, asked)| now.duration_since(*asked) < PATIENCE);
        let free = limit.saturating_sub(state.taken) as usize;
        let place = state.waiting.iter().position(|(waiting, _)| *waiting == thread);
        if place.unwrap_or(state.waiting.len()) >= free {
            match place {
                Some(place) => state.waiting[place].1 = now,
                None => state.waiting.push_back((thread, now)),
            }
            return Turn::Wait;
        }
        if let Some(place) = place {
            state.waiting.remove(place);
        }
        state.taken += 1;
        state.held.insert(principal.to_owned(), held + 1);
        Turn::Granted
    }

    /// Returns a permit of `principal`.
    pub fn give_back(&self, principal: &str) {
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
        assert_eq!(permits.take(3, "a", 1), Turn::Granted);
        assert_eq!(permits.take(3, "a", 1), Turn::Granted);
        assert_eq!(permits.take(3, "a", 2), Turn::Share);
        assert_eq!(permits.take(3, "b", 1), Turn::Granted);
        permits.give_back("a");
        assert_eq!(permits.take(3, "a", 1), Turn::Granted);
    }

    #[test]
    fn a_single_permit_is_anybodys() {
        let permits = Permits::default();
        assert_eq!(permits.take(1, "a", 1), Turn::Granted);
        assert_eq!(permits.take(1, "a", 1), Turn::Wait);
        permits.give_back("a");
        assert_eq!(permits.take(1, "a", 1), Turn::Granted);
    }

    #[test]
    fn threads_take_turns() {
        let permits = Permits::default();
        assert_eq!(permits.take(1, "a", 1), Turn::Granted);
        assert_eq!(permits.take(1, "b", 2), Turn::Wait);
        permits.give_back("a");
        assert_eq!(permits.take(1, "a", 1), Turn::Wait, "thread 2 asked first");
        assert_eq!(permits.take(1, "b", 2), Turn::Granted);
    }

    #[test]
    fn a_thread_that_no_longer_asks_loses_its_turn() {
        let permits = Permits::default();
        assert_eq!(permits.take(1, "a", 1), Turn::Granted);
        assert_eq!(permits.take(1, "b", 2), Turn::Wait);
        permits.give_back("a");
        std::thread::sleep(PATIENCE);
        assert_eq!(permits.take(1, "a", 1), Turn::Granted);
    }
}
