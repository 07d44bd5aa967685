//! Modules whose compilation exceeded its time or memory limit. They are rejected immediately for a while, because
//! compiling them again would fail again at the same cost.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Limits;
use crate::failure::{CompileReason, Failure};

/// How long a module is rejected without another attempt.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Maximum number of remembered failures.
const MAX_REFUSALS: usize = 4_096;

struct Refusal {
    limits: Limits,
    reason: CompileReason,
    message: String,
    until: Instant,
}

/// Failures by content hash.
#[derive(Default)]
pub struct Refusals(HashMap<String, Refusal>);

impl Refusals {
    /// Returns the failure of the same content under limits at least as high as these.
    pub fn find(&self, hash: &str, limits: &Limits, now: Instant) -> Option<Failure> {
        let refusal = self.0.get(hash).filter(|refusal| refusal.until > now)?;
        let no_looser = limits.time <= refusal.limits.time && limits.memory <= refusal.limits.memory;
        no_looser.then(|| {
            let seconds = (refusal.until - now).as_secs() + 1;
            let message = format!("{} (as found before; tried again after {seconds} s)", refusal.message);
            Failure::Compile { reason: refusal.reason, message }
        })
    }

    /// Remembers a failure. The oldest one is dropped if there are too many.
    pub fn add(&mut self, hash: String, limits: Limits, reason: CompileReason, message: String, now: Instant) {
        if self.0.len() >= MAX_REFUSALS {
            self.0.retain(|_, refusal| refusal.until > now);
        }
        if self.0.len() >= MAX_REFUSALS {
            let oldest = self.0.iter().min_by_key(|(_, refusal)| refusal.until).map(|(hash, _)| hash.clone());
            oldest.and_then(|hash| self.0.remove(&hash));
        }
        self.0.insert(hash, Refusal { limits, reason, message, until: now + REMEMBERED });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(time: u64, memory: u64) -> Limits {
        Limits { time: Duration::from_millis(time), memory, image: 1 }
    }

    fn add(refusals: &mut Refusals, hash: &str, limits: Limits, now: Instant) {
        refusals.add(hash.to_owned(), limits, CompileReason::Time, "too long".to_owned(), now);
    }

    #[test]
    fn a_refusal_holds_for_a_while_and_for_limits_that_are_no_looser() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        add(&mut refusals, "a", limits(10, 10), now);
        let found = refusals.find("a", &limits(10, 10), now);
        let Some(Failure::Compile { reason: CompileReason::Time, message }) = found else { panic!("{found:?}") };
        assert!(message.starts_with("too long (as"));
        assert!(refusals.find("a", &limits(5, 5), now).is_some());
        assert!(refusals.find("a", &limits(11, 10), now).is_none());
        assert!(refusals.find("a", &limits(10, 11), now).is_none());
        assert!(refusals.find("b", &limits(10, 10), now).is_none());
        assert!(refusals.find("a", &limits(10, 10), now + REMEMBERED).is_none());
    }

    #[test]
    fn the_number_of_refusals_is_bounded() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        for number in 0..MAX_REFUSALS + 10 {
            let at = now + Duration::from_millis(number as u64);
            add(&mut refusals, &number.to_string(), limits(1, 1), at);
        }
        assert_eq!(refusals.0.len(), MAX_REFUSALS);
        assert!(refusals.find("0", &limits(1, 1), now).is_none());
    }
}
