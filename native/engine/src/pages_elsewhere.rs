//! Elsewhere than on Linux nobody can be asked which pages a call wrote to: memories are left to the engine.

use crate::instance::Instance;

/// Nothing to ask.
pub struct Pages;

/// Nothing is known.
#[derive(Default)]
pub struct Touched;

impl Pages {
    /// Nothing to open.
    pub fn open() -> Pages {
        Pages
    }

    /// Leaves everything to the engine.
    pub fn discard<'a>(&mut self, _used: impl Iterator<Item = &'a mut Instance>, _kept: usize) {}
}

impl Touched {
    /// None.
    pub fn ranges(&self) -> Vec<(usize, usize)> {
        Vec::new()
    }

    /// None.
    pub fn bytes(&self) -> usize {
        0
    }

    /// Learns nothing.
    pub fn sample(&mut self, _used: &Instance, _kept: usize, _pages: &Pages) -> bool {
        false
    }

    /// None are known, so each may show them.
    pub fn is_sample(&mut self) -> bool {
        true
    }

    /// Nothing is known.
    pub fn open(&self, _reach: usize) -> usize {
        0
    }

    /// Faults nothing in.
    pub fn populate(&self, _fresh: &mut Instance, _reach: usize, _open: usize, _hurry: bool) {}
}
