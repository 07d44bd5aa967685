//! The pages that calls of a memory use. Resetting them in place costs less than returning them to the kernel and
//! faulting them in again.
//!
//! A page joins when two calls within [`WINDOW`] use it, so that a single call of unusual size has no effect. One call
//! in [`SAMPLE_EVERY`] starts without resident pages, so that its resident pages are those that it used. A page that
//! [`LIVES`] consecutive samples did not use leaves. Zeroing a page costs a fortieth of returning it and faulting it
//! in, so a page that a tenth of the calls use belongs in the set, and one that joins by mistake costs little until it
//! leaves.

use std::ops::Range;

/// Maximum number of calls between two uses of a page that add it to the working set.
const WINDOW: u32 = 32;
/// The interval of samples in calls: so long that they are not among the slowest hundredth of requests. It is prime, so that
/// the samples of modules that take turns fall on all of them.
pub const SAMPLE_EVERY: u32 = 509;
/// Samples without a use until a page leaves.
const LIVES: u8 = 8;

/// A page that one recent call used.
const CANDIDATE: u8 = 1;
/// A page of the set that the last sample used. Each sample that does not use it decrements the number, down to
/// [`CANDIDATE`].
const FULL: u8 = CANDIDATE + LIVES;

/// The pages that calls of one memory use.
#[derive(Default)]
pub struct WorkingSet {
    /// One number for each page.
    heat: Vec<u8>,
    size: usize,
    limit: usize,
    used: usize,
    calls: u32,
    has_candidates: bool,
}

impl WorkingSet {
    /// Pages in the set.
    pub fn len(&self) -> usize {
        self.size
    }

    /// Begins the records of a call, after which the set has at most `limit` pages, except those that it already has.
    pub fn begin(&mut self, limit: usize) {
        self.limit = limit;
        self.used = 0;
    }

    /// Pages that the last call used for certain.
    pub fn used_pages(&self) -> usize {
        self.used
    }

    /// Records that `page` has contents after a call; in a `sample`, the call used it. Returns whether the page is in
    /// the set.
    #[inline]
    pub fn used(&mut self, page: usize, sample: bool) -> bool {
        match self.heat.get(page) {
            Some(&heat) if heat > CANDIDATE => {
                if sample {
                    self.heat[page] = FULL;
                    self.used += 1;
                }
                true
            }
            _ => self.nominate(page),
        }
    }

    #[cold]
    fn nominate(&mut self, page: usize) -> bool {
        if page >= self.heat.len() {
            self.heat.resize(page + 1, 0);
        }
        let joins = self.heat[page] == CANDIDATE && self.size < self.limit;
        self.heat[page] = if joins { FULL } else { CANDIDATE };
        self.size += usize::from(joins);
        self.used += 1;
        self.has_candidates |= !joins;
        joins
    }

    /// Records that a sample did not use these pages.
    pub fn unused(&mut self, pages: Range<usize>) {
        let end = pages.end.min(self.heat.len());
        for heat in self.heat.get_mut(pages.start..end).unwrap_or_default() {
            if *heat > CANDIDATE {
                *heat -= 1;
                if *heat == CANDIDATE {
                    *heat = 0;
                    self.size -= 1;
                }
            }
        }
    }

    /// Ends a call. Returns whether the next one is a sample.
    pub fn end_call(&mut self) -> bool {
        self.calls = self.calls.wrapping_add(1);
        if self.has_candidates && self.calls.is_multiple_of(WINDOW) {
            self.has_candidates = false;
            self.heat.iter_mut().filter(|heat| **heat == CANDIDATE).for_each(|heat| *heat = 0);
        }
        self.calls.is_multiple_of(SAMPLE_EVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a call that uses these pages of 16; returns those that stay resident.
    fn call(set: &mut WorkingSet, pages: &[usize], sample: bool) -> (Vec<usize>, bool) {
        let mut kept = Vec::new();
        for page in 0..16 {
            let resident =
                pages.contains(&page) || (!sample && set.heat.get(page).is_some_and(|heat| *heat > CANDIDATE));
            if !resident && sample {
                set.unused(page..page + 1);
            } else if resident && set.used(page, sample) {
                kept.push(page);
            }
        }
        (kept, set.end_call())
    }

    fn working_set() -> WorkingSet {
        WorkingSet { limit: 16, ..WorkingSet::default() }
    }

    #[test]
    fn a_page_joins_with_its_second_use() {
        let mut set = working_set();
        assert!(call(&mut set, &[3, 9], true).0.is_empty());
        assert_eq!(call(&mut set, &[3], false).0, [3]);
        assert_eq!(call(&mut set, &[], false).0, [3]);
        assert_eq!(set.len(), 1);
    }

    #[test]
    fn a_page_that_one_call_used_is_forgotten() {
        let mut set = working_set();
        call(&mut set, &(0..16).collect::<Vec<_>>(), false);
        for _ in 0..WINDOW {
            call(&mut set, &[], false);
        }
        assert!(call(&mut set, &[5], false).0.is_empty());
        assert_eq!(set.len(), 0);
    }

    #[test]
    fn several_sizes_at_once_share_one_set() {
        let mut set = working_set();
        let large: Vec<_> = (0..16).collect();
        for _ in 0..3 {
            call(&mut set, &[1], false);
            call(&mut set, &large, false);
        }
        assert_eq!(set.len(), 16);
    }

    #[test]
    fn one_call_in_many_is_a_sample() {
        let mut set = working_set();
        let samples = (0..2 * SAMPLE_EVERY).filter(|_| call(&mut set, &[1], false).1).count();
        assert_eq!(samples, 2);
    }

    #[test]
    fn a_page_that_samples_do_not_use_leaves_and_one_that_they_use_stays() {
        let mut set = working_set();
        call(&mut set, &[2, 7, 15], false);
        call(&mut set, &[2, 7, 15], false);
        for _ in 1..LIVES {
            call(&mut set, &[7], true);
            set.unused(16..usize::MAX);
            assert_eq!(set.len(), 3);
        }
        call(&mut set, &[2, 7], true);
        assert_eq!(set.len(), 2);
        assert_eq!(call(&mut set, &[], false).0, [2, 7]);
    }

    #[test]
    fn a_full_set_accepts_no_page_until_one_leaves() {
        let mut set = WorkingSet { limit: 2, ..WorkingSet::default() };
        call(&mut set, &[1, 2, 3], false);
        assert_eq!(call(&mut set, &[1, 2, 3], false).0, [1, 2]);
        assert_eq!(call(&mut set, &[3], false).0, [1, 2]);
        (0..LIVES).for_each(|_| drop(call(&mut set, &[2], true)));
        call(&mut set, &[3], false);
        assert_eq!(call(&mut set, &[3], false).0, [2, 3]);
    }
}
