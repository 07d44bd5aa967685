//! The counts of a directory of images.

/// Counts since the directory was opened.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CacheDirStats {
    /// Images that were read and loaded.
    pub hits: u64,
    /// Images that were not found.
    pub misses: u64,
    /// Files that were rejected: altered, truncated, too large, or of another name or user.
    pub rejected: u64,
    /// Images that were written.
    pub writes: u64,
    /// Images that could not be written.
    pub write_failures: u64,
    /// Images that the directory's limit evicted.
    pub evictions: u64,
}
