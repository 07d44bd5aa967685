//! The queue of compilations. Principals are served in rotation, so the modules of one do not delay those of another,
//! and no principal exceeds its share of a limit of two or more.

use std::collections::VecDeque;

/// The principal that owns a module; `None` is shared by all modules without one.
pub type Principal = Option<String>;

/// The share of a limit that one principal may hold: half, so that it never holds the last permit of several.
pub fn share_of(limit: u64) -> u64 {
    (limit / 2).max(1)
}

/// The properties of an entry that the queue reads.
pub trait Waiting {
    /// Its owner.
    fn principal(&self) -> &Principal;
    /// Bytes that it occupies while it waits.
    fn bytes(&self) -> u64;
    /// Whether a thread blocks until it ends.
    fn urgent(&self) -> bool;
}

/// The queue (line) of one principal: urgent entries first, each kind in order of arrival.
struct Line<T> {
    principal: Principal,
    entries: VecDeque<T>,
    bytes: u64,
}

/// One line of entries per principal. The next principal in the rotation is first.
pub struct Queue<T> {
    lines: VecDeque<Line<T>>,
    count: u64,
    bytes: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Queue { lines: VecDeque::new(), count: 0, bytes: 0 }
    }
}

impl<T: Waiting> Queue<T> {
    /// Entries that wait.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Adds an entry to its principal's line, before all that are not urgent if it is urgent. Returns the entry if the queue
    /// would have more entries or bytes than the limits, or the principal more than its share. A principal without entries may
    /// always add one, whatever its size, if the limits of the queue allow it.
    pub fn push(&mut self, entry: T, max_count: u64, max_bytes: u64) -> Result<(), T> {
        let bytes = entry.bytes();
        if self.count >= max_count || self.bytes.saturating_add(bytes) > max_bytes {
            return Err(entry);
        }
        let position = self.lines.iter().position(|line| line.principal == *entry.principal());
        let position = position.unwrap_or_else(|| {
            let principal = entry.principal().clone();
            self.lines.push_back(Line { principal, entries: VecDeque::new(), bytes: 0 });
            self.lines.len() - 1
        });
        let line = &mut self.lines[position];
        let within_share =
            (line.entries.len() as u64) < share_of(max_count) && line.bytes + bytes <= share_of(max_bytes);
        if !line.entries.is_empty() && !within_share {
            return Err(entry);
        }
        line.bytes += bytes;
        self.bytes += bytes;
        self.count += 1;
        let urgent = line.entries.iter().take_while(|earlier| earlier.urgent()).count();
        line.entries.insert(if entry.urgent() { urgent } else { line.entries.len() }, entry);
        Ok(())
    }

    /// Removes and returns the first entry, in rotation order, of a principal whose first entry may start. That
    /// principal moves to the end of the rotation. Entries that `attached` selects keep their positions but do not count.
    pub fn take(&mut self, attached: impl Fn(&T) -> bool, may_start: impl Fn(&T) -> bool) -> Option<T> {
        let first = |line: &Line<T>| {
            let first = line.entries.iter().position(|entry| !attached(entry))?;
            may_start(&line.entries[first]).then_some(first)
        };
        let (position, first) =
            self.lines.iter().enumerate().find_map(|(position, line)| Some((position, first(line)?)))?;
        let mut line = self.lines.remove(position)?;
        let entry = line.entries.remove(first)?;
        line.bytes -= entry.bytes();
        self.bytes -= entry.bytes();
        self.count -= 1;
        if !line.entries.is_empty() {
            self.lines.push_back(line);
        }
        Some(entry)
    }

    /// Whether an entry fulfills the condition.
    pub fn any(&self, condition: impl Fn(&T) -> bool) -> bool {
        self.lines.iter().flat_map(|line| &line.entries).any(condition)
    }

    /// Removes the entries that `unwanted` selects and returns them.
    pub fn remove(&mut self, unwanted: impl Fn(&T) -> bool) -> Vec<T> {
        let mut removed = Vec::new();
        for line in &mut self.lines {
            // The usual case copies nothing.
            if !line.entries.iter().any(&unwanted) {
                continue;
            }
            let (out, kept): (VecDeque<T>, VecDeque<T>) = line.entries.drain(..).partition(&unwanted);
            line.entries = kept;
            line.bytes = line.entries.iter().map(Waiting::bytes).sum();
            removed.extend(out);
        }
        self.lines.retain(|line| !line.entries.is_empty());
        self.count -= removed.len() as u64;
        self.bytes -= removed.iter().map(Waiting::bytes).sum::<u64>();
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Entry(Principal, u32, u64, bool);

    impl Waiting for Entry {
        fn principal(&self) -> &Principal {
            &self.0
        }
        fn bytes(&self) -> u64 {
            self.2
        }
        fn urgent(&self) -> bool {
            self.3
        }
    }

    fn entry(principal: &str, number: u32) -> Entry {
        Entry(Some(principal.to_owned()), number, 10, false)
    }

    fn order(queue: &mut Queue<Entry>) -> Vec<u32> {
        std::iter::from_fn(|| queue.take(|_| false, |_| true)).map(|entry| entry.1).collect()
    }

    #[test]
    fn principals_take_turns_and_each_is_served_in_order() {
        let mut queue = Queue::default();
        for (principal, number) in [("a", 1), ("a", 2), ("a", 3), ("b", 4), ("b", 5), ("c", 6)] {
            queue.push(entry(principal, number), 100, 1_000).expect("the limits allow it");
        }
        assert_eq!(order(&mut queue), [1, 4, 6, 2, 5, 3]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn urgent_entries_go_first_in_their_own_line_alone_and_in_order() {
        let mut queue = Queue::default();
        for (principal, number, urgent) in
            [("a", 1, false), ("b", 2, false), ("b", 3, true), ("b", 4, true), ("b", 5, false)]
        {
            let entry = Entry(Some(principal.to_owned()), number, 10, urgent);
            queue.push(entry, 100, 1_000).expect("the limits allow it");
        }
        assert_eq!(order(&mut queue), [1, 3, 4, 2, 5]);
    }

    #[test]
    fn an_entry_that_may_not_start_keeps_its_turn_and_stops_nobody_else() {
        let mut queue = Queue::default();
        for (principal, number) in [("a", 1), ("b", 2)] {
            queue.push(entry(principal, number), 100, 1_000).expect("the limits allow it");
        }
        assert_eq!(queue.take(|_| false, |entry| entry.1 != 1), Some(entry("b", 2)));
        assert_eq!(queue.take(|_| false, |entry| entry.1 != 1), None);
        assert_eq!(order(&mut queue), [1]);
    }

    #[test]
    fn an_attached_entry_keeps_its_place_and_delays_no_later_one() {
        let mut queue = Queue::default();
        for (principal, number) in [("a", 1), ("a", 2), ("b", 3)] {
            queue.push(entry(principal, number), 100, 1_000).expect("the limits allow it");
        }
        let first_attached = |entry: &Entry| entry.1 == 1;
        assert_eq!(queue.take(first_attached, |_| true), Some(entry("a", 2)));
        assert_eq!(queue.take(first_attached, |_| true), Some(entry("b", 3)));
        assert_eq!(queue.take(first_attached, |_| true), None);
        assert!(queue.any(first_attached));
        assert_eq!(order(&mut queue), [1]);
    }

    #[test]
    fn one_principal_fills_half_of_the_queue_and_leaves_the_rest_to_others() {
        let mut queue = Queue::default();
        queue.push(entry("a", 1), 4, 1_000).expect("the first");
        queue.push(entry("a", 2), 4, 1_000).expect("half");
        assert!(queue.push(entry("a", 3), 4, 1_000).is_err());
        queue.push(entry("b", 4), 4, 1_000).expect("the other half");
        queue.push(entry("c", 5), 4, 1_000).expect("the other half");
        assert!(queue.push(entry("d", 6), 4, 1_000).is_err());
    }

    #[test]
    fn bytes_are_limited_like_entries() {
        let mut queue = Queue::default();
        queue.push(Entry(None, 1, 60, false), 100, 100).expect("one may be larger than half");
        assert!(queue.push(Entry(None, 2, 1, false), 100, 100).is_err());
        assert!(queue.push(Entry(Some("b".to_owned()), 3, 41, false), 100, 100).is_err());
        queue.push(Entry(Some("b".to_owned()), 4, 40, false), 100, 100).expect("the limits allow it");
    }

    #[test]
    fn removed_entries_no_longer_count() {
        let mut queue = Queue::default();
        for number in 1..=4 {
            queue.push(entry("a", number), 8, 1_000).expect("the limits allow it");
        }
        let removed = queue.remove(|entry| entry.1 % 2 == 0);
        assert_eq!(removed.iter().map(|entry| entry.1).collect::<Vec<_>>(), [2, 4]);
        queue.push(entry("a", 5), 8, 1_000).expect("the limits allow it");
        assert_eq!(order(&mut queue), [1, 3, 5]);
    }
}
