//! 256 KiB of initialized memory, as a plugin with a word list has it. The benchmark measures what it costs an instance.

const ENTRIES: usize = 65_536;

static TABLE: [u32; ENTRIES] = table();

const fn table() -> [u32; ENTRIES] {
    let mut table = [0; ENTRIES];
    let mut index = 0;
    while index < ENTRIES {
        table[index] = (index as u32).wrapping_mul(0x9e37_79b9) | 1;
        index += 1;
    }
    table
}

/// Reads one entry, so that the linker keeps them all.
pub fn read(index: usize) {
    core::hint::black_box(core::hint::black_box(&TABLE)[index % ENTRIES]);
}
