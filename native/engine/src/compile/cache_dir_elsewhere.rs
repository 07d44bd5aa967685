//! A directory of images requires permissions that exclude other users. They are implemented for Unix only.

use std::hash::Hash;
use std::path::Path;
use std::sync::Arc;

pub use super::cache_dir_stats::CacheDirStats;

/// A directory that cannot be opened on this platform.
pub enum CacheDir {}

/// The location of an image.
pub struct ImageName;

impl ImageName {
    /// An unused name.
    pub fn new(_content: &str, _compatibility: impl Hash) -> ImageName {
        ImageName
    }
}

impl CacheDir {
    /// Fails.
    pub fn open(
        _path: &Path,
        _key: Option<[u8; 32]>,
        _new: [u8; 32],
        _max_bytes: u64,
    ) -> Result<Arc<CacheDir>, String> {
        Err("a directory of compiled modules is not supported on this platform".to_owned())
    }

    /// Cannot be called.
    pub fn find(&self, _name: &ImageName, _max_image_bytes: u64) -> Option<Vec<u8>> {
        match *self {}
    }

    /// Cannot be called.
    pub fn keep(&self, _name: &ImageName, _image: &[u8]) {
        match *self {}
    }

    /// Cannot be called.
    pub fn stats(&self) -> CacheDirStats {
        match *self {}
    }
}
