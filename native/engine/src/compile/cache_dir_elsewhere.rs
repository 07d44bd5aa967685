//! A directory of images needs permissions that keep other users out, which are known of Unix alone.

use std::hash::Hash;
use std::path::Path;
use std::sync::Arc;

/// No directory can be opened.
pub enum CacheDir {}

/// Counts of none.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CacheDirStats {
    /// Always 0.
    pub hits: u64,
    /// Always 0.
    pub misses: u64,
    /// Always 0.
    pub rejected: u64,
    /// Always 0.
    pub writes: u64,
    /// Always 0.
    pub write_failures: u64,
    /// Always 0.
    pub evictions: u64,
}

/// What a look-up came to.
pub enum Lookup {
    /// The bytes of an image.
    Found(Vec<u8>),
    /// There is none.
    Missing,
}

/// Where an image would belong.
pub struct ImageName;

impl ImageName {
    /// A name that nobody uses.
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
    pub fn find(&self, _name: &ImageName, _max_image_bytes: u64) -> Lookup {
        match *self {}
    }

    /// Cannot be called.
    pub fn reject(&self, _name: &ImageName) {
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
