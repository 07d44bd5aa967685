//! Pseudo-random values from a seed: mostly small, with many edge cases.

/// A generator of pseudo-random values (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Returns the number of elements of a slice.
    pub fn count(&mut self) -> u64 {
        match self.below(8) {
            0 => 0,
            1 => 1,
            7 => 3 + self.below(6),
            _ => self.below(4),
        }
    }

    fn length(&mut self) -> u64 {
        match self.below(10) {
            0 => 0,
            1 => 60 + self.below(10),
            2 => 155 + self.below(10),
            _ => self.below(24),
        }
    }

    pub fn text(&mut self) -> String {
        let alphabet: &[char] = match self.below(5) {
            0 => &['é', 'ß', 'ÿ', 'a', '\u{80}'],
            1 => &['漢', '\u{feff}', '\u{ffff}', '\u{800}', 'z'],
            2 => &['😀', '\u{10ffff}', '\u{10000}', '\0', '"'],
            _ => &['a', 'b', '-', '0', '9', '/', '\u{7f}', '\\', ' '],
        };
        let length = self.length();
        (0..length).map(|_| alphabet[self.below(alphabet.len() as u64) as usize]).collect()
    }

    pub fn bytes(&mut self) -> Vec<u8> {
        let length = self.length();
        (0..length).map(|_| self.next() as u8).collect()
    }

    pub fn integer(&mut self) -> u64 {
        match self.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => (1 << 53) - 1,
            3 => 1 << 53,
            4 => u64::from(u32::MAX) + self.below(2),
            5 => self.next(),
            _ => self.below(70_000),
        }
    }
}
