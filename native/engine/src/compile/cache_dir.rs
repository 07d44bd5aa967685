//! A directory of images that processes of a host share, so that a module is compiled once.
//!
//! An image is native code: anyone who can write one to the directory controls every process that loads it. So the
//! directory and its files must belong to this user alone, and each file carries a keyed BLAKE3 code (MAC) over its
//! name and the image. The name is a digest of the module's content and of everything that decides what the image must
//! be: the version of wasmtime, the engine's settings and the features of the CPU. A valid file under another name is
//! therefore rejected too. The checked bytes are the same buffer that is loaded.
//!
//! Files are written under a temporary name and renamed, so a reader sees a whole file or none, and processes need no
//! lock: the last one to write the same image wins. A temporary name is random, because process ids repeat in containers.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::hash::Hasher;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, SystemTime};

pub use super::cache_dir_stats::CacheDirStats;

const MAGIC: [u8; 16] = *b"cc-lb-image-v1\r\n";
const MAC_BYTES: usize = blake3::OUT_LEN;
const HEADER_BYTES: usize = MAGIC.len() + MAC_BYTES;
const SUFFIX: &str = ".image";
/// The file of the generated key, used if the configuration has no key.
const KEY_FILE: &str = "key";
/// A temporary file of this age was left by a killed process.
const ABANDONED: Duration = Duration::from_secs(3_600);

/// The key of the MAC.
pub type Key = [u8; blake3::KEY_LEN];

#[derive(Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    rejected: AtomicU64,
    writes: AtomicU64,
    write_failures: AtomicU64,
    evictions: AtomicU64,
}

/// An open directory.
pub struct CacheDir {
    path: PathBuf,
    /// Empty while the disk is full or read-only and has no key. Nothing is read or written then.
    key: OnceLock<Key>,
    new_key: Key,
    max_bytes: u64,
    counters: Counters,
    temporary: AtomicU64,
}

/// The location of an image.
pub struct ImageName([u8; blake3::OUT_LEN]);

type Opened = HashMap<(PathBuf, Option<Key>, u64), Weak<CacheDir>>;
static OPENED: LazyLock<Mutex<Opened>> = LazyLock::new(Mutex::default);

impl CacheDir {
    /// Opens a directory, and creates it if it does not exist. `new_key` becomes its key, unless it has one or `key`
    /// names one. The same directory is opened once in the process. The error is a sentence.
    pub fn open(path: &Path, key: Option<Key>, new_key: Key, max_bytes: u64) -> Result<Arc<CacheDir>, String> {
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        let id = (path.to_path_buf(), key, max_bytes);
        if let Some(directory) = opened.get(&id).and_then(Weak::upgrade) {
            return Ok(directory);
        }
        let described = |error: io::Error| format!("{}: {error}", path.display());
        match DirBuilder::new().recursive(true).mode(0o700).create(path) {
            Ok(()) => {}
            // The directory may exist on a read-only disk.
            Err(_) if fs::symlink_metadata(path).is_ok() => {}
            Err(error) => return Err(described(error)),
        }
        let found = fs::symlink_metadata(path).map_err(described)?;
        if !found.is_dir() {
            return Err(format!("{} is not a directory", path.display()));
        }
        if !belongs_to_this_user(&found) {
            return Err(format!("{} must belong to this user and be closed to all others (chmod 700)", path.display()));
        }
        let directory = Arc::new(CacheDir {
            path: path.to_path_buf(),
            key: key.map(OnceLock::from).unwrap_or_default(),
            new_key,
            max_bytes,
            counters: Counters::default(),
            temporary: AtomicU64::new(0),
        });
        match directory.key() {
            Err(error) if !is_full_or_read_only(&error) => return Err(described(error)),
            _ => {}
        }
        opened.retain(|_, directory| directory.strong_count() > 0);
        opened.insert(id, Arc::downgrade(&directory));
        Ok(directory)
    }

    /// Returns the bytes of an image with a valid MAC, up to a size limit. A rejected file is removed.
    pub fn find(&self, name: &ImageName, max_image_bytes: u64) -> Option<Vec<u8>> {
        let path = self.path_of(name);
        match self.read(&path, name, max_image_bytes) {
            Ok(image) => {
                self.counters.hits.fetch_add(1, Relaxed);
                // The modification time orders eviction. It cannot be set on a read-only disk.
                let _ = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
                Some(image)
            }
            Err(error) => {
                if is_failure_of_host(&error) {
                    self.counters.misses.fetch_add(1, Relaxed);
                } else {
                    self.reject(name);
                }
                None
            }
        }
    }

    /// Returns the key. Creates that of the directory if neither it nor the configuration has one.
    fn key(&self) -> io::Result<&Key> {
        if let Some(key) = self.key.get() {
            return Ok(key);
        }
        let key = shared_key(&self.path, &self.temporary_path(), self.new_key)?;
        Ok(self.key.get_or_init(|| key))
    }

    /// Returns an unused name for a file that will be renamed.
    fn temporary_path(&self) -> PathBuf {
        let number = self.temporary.fetch_add(1, Relaxed);
        // The key is random and unknown to others, and its digest does not disclose it.
        self.path.join(format!("{}-{number}.tmp", blake3::hash(&self.new_key).to_hex()))
    }

    /// Counts and removes a rejected file.
    fn reject(&self, name: &ImageName) {
        self.counters.rejected.fetch_add(1, Relaxed);
        let _ = fs::remove_file(self.path_of(name));
    }

    /// Stores an image, and evicts the least recently used ones if the directory exceeds its limit. A failure only
    /// costs the time to compile again.
    pub fn keep(&self, name: &ImageName, image: &[u8]) {
        if (image.len() + HEADER_BYTES) as u64 > self.max_bytes {
            return;
        }
        let counter = match self.write(name, image) {
            Ok(()) => &self.counters.writes,
            Err(_) => &self.counters.write_failures,
        };
        counter.fetch_add(1, Relaxed);
        let _ = self.shrink();
    }

    /// Counts since it was opened.
    pub fn stats(&self) -> CacheDirStats {
        let Counters { hits, misses, rejected, writes, write_failures, evictions } = &self.counters;
        let count = |counter: &AtomicU64| counter.load(Relaxed);
        CacheDirStats {
            hits: count(hits),
            misses: count(misses),
            rejected: count(rejected),
            writes: count(writes),
            write_failures: count(write_failures),
            evictions: count(evictions),
        }
    }

    fn path_of(&self, name: &ImageName) -> PathBuf {
        self.path.join(format!("{}{SUFFIX}", blake3::Hash::from(name.0).to_hex()))
    }

    fn read(&self, path: &Path, name: &ImageName, max_image_bytes: u64) -> io::Result<Vec<u8>> {
        let key = self.key()?;
        let mut bytes = read_own(path, max_image_bytes.saturating_add(HEADER_BYTES as u64))?;
        let (header, image) = bytes.split_at_checked(HEADER_BYTES).ok_or(ErrorKind::InvalidData)?;
        let (magic, mac) = header.split_at(MAGIC.len());
        let mac: [u8; MAC_BYTES] = mac.try_into().expect("the rest of the header");
        // `Hash` compares in constant time.
        if magic != MAGIC || blake3::Hash::from(mac) != mac_of(key, name, image) {
            return Err(ErrorKind::InvalidData.into());
        }
        bytes.drain(..HEADER_BYTES);
        Ok(bytes)
    }

    fn write(&self, name: &ImageName, image: &[u8]) -> io::Result<()> {
        let (key, temporary) = (self.key()?, self.temporary_path());
        let written = create_own(&temporary).and_then(|mut file| {
            file.write_all(&MAGIC)?;
            file.write_all(mac_of(key, name, image).as_bytes())?;
            file.write_all(image)
        });
        let renamed = written.and_then(|()| fs::rename(&temporary, self.path_of(name)));
        renamed.inspect_err(|_| {
            let _ = fs::remove_file(&temporary);
        })
    }

    fn shrink(&self) -> io::Result<()> {
        let mut images = Vec::new();
        let mut total = 0;
        for entry in fs::read_dir(&self.path)?.flatten() {
            let (Ok(found), name) = (entry.metadata(), entry.file_name()) else { continue };
            let used = found.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let name = name.to_string_lossy();
            if name.ends_with(SUFFIX) {
                total += found.len();
                images.push((used, found.len(), entry.path()));
            } else if name.ends_with(".tmp") && used.elapsed().is_ok_and(|age| age > ABANDONED) {
                let _ = fs::remove_file(entry.path());
            }
        }
        images.sort_unstable();
        for (_, bytes, path) in images {
            if total <= self.max_bytes {
                break;
            }
            total -= bytes;
            // Another process may have removed it first.
            if fs::remove_file(path).is_ok() {
                self.counters.evictions.fetch_add(1, Relaxed);
            }
        }
        Ok(())
    }
}

impl ImageName {
    /// The name of the image of this content for an engine, which `compatibility` identifies together with its version
    /// and the CPU.
    pub fn new(content: &str, compatibility: impl std::hash::Hash) -> ImageName {
        struct Digest(blake3::Hasher);
        impl Hasher for Digest {
            fn write(&mut self, bytes: &[u8]) {
                self.0.update(bytes);
            }
            fn finish(&self) -> u64 {
                0
            }
        }
        let mut digest = Digest(blake3::Hasher::new());
        digest.write(&MAGIC);
        digest.write(env!("CARGO_PKG_VERSION").as_bytes());
        digest.write(&[0]);
        digest.write(content.as_bytes());
        compatibility.hash(&mut digest);
        ImageName(*digest.0.finalize().as_bytes())
    }
}

fn mac_of(key: &Key, name: &ImageName, image: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(&name.0).update(image);
    hasher.finalize()
}

fn is_full_or_read_only(error: &io::Error) -> bool {
    use ErrorKind::{FileTooLarge, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem | FileTooLarge)
}

/// Whether a file could not be read because of the host. The file is then kept.
fn is_failure_of_host(error: &io::Error) -> bool {
    let short = matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EIO));
    short || matches!(error.kind(), ErrorKind::NotFound | ErrorKind::OutOfMemory) || is_full_or_read_only(error)
}

fn belongs_to_this_user(found: &Metadata) -> bool {
    // SAFETY: the call has no preconditions.
    found.uid() == unsafe { libc::geteuid() } && found.mode() & 0o077 == 0
}

/// Reads a regular file that only this user can access. Symbolic links are not followed.
fn read_own(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || !belongs_to_this_user(&found) || found.len() > max_bytes {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::new();
    let size = usize::try_from(found.len()).map_err(|_| ErrorKind::InvalidData)?;
    bytes.try_reserve_exact(size).map_err(|_| ErrorKind::OutOfMemory)?;
    // The file may grow between the two calls.
    file.take(max_bytes).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn create_own(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(path)
}

/// Returns the key of a directory. The first process that opens the directory creates it.
fn shared_key(directory: &Path, temporary: &Path, new_key: Key) -> io::Result<Key> {
    let path = directory.join(KEY_FILE);
    if let Err(error) = fs::symlink_metadata(&path) {
        if error.kind() != ErrorKind::NotFound {
            return Err(error);
        }
        // A hard link creates the file atomically with its whole content, and fails if it exists. A key that a power failure
        // truncates would make the directory unusable, whereas an image would only be rejected.
        let written = create_own(temporary).and_then(|mut file| {
            file.write_all(&new_key)?;
            file.sync_all()
        });
        let linked = written.and_then(|()| fs::hard_link(temporary, &path));
        let _ = fs::remove_file(temporary);
        match linked {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    let bytes = read_own(&path, new_key.len() as u64 + 1)?;
    bytes.try_into().map_err(|_| io::Error::new(ErrorKind::InvalidData, "the key file is not a key of 32 bytes"))
}

#[cfg(test)]
mod tests;
