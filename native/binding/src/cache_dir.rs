//! The handle to a directory of compiled modules.

use std::path::Path;
use std::sync::Arc;

use cc_lb_engine::compile::CacheDir;
use cc_lb_engine::failure::{Failure, catching};
use napi::bindgen_prelude::{AsyncTask, Either};
use napi::{Env, Result, Task};
use napi_derive::napi;

use crate::bytes::byte_count;
use crate::content::NativeContent;
use crate::failure::NativeFailure;
use crate::module::NativeModule;

/// A directory of compiled modules; every handle to one directory with one key is a handle to the same one.
#[napi]
pub struct NativeCacheDir {
    pub(crate) inner: Arc<CacheDir>,
}

/// Counts of a directory since this process opened it.
#[napi(object, object_from_js = false)]
pub struct NativeCacheDirStats {
    /// Modules that were read.
    pub hits: f64,
    /// Modules that were not found.
    pub misses: f64,
    /// Files that were rejected: altered, truncated, too large, or of another name or user.
    pub rejected: f64,
    /// Modules that were written.
    pub writes: f64,
    /// Modules that could not be written.
    pub write_failures: f64,
    /// Modules that the directory's limit evicted.
    pub evictions: f64,
}

/// Opens a directory, and creates it if it does not exist. Keys have 32 bytes; `new_key` becomes the directory's,
/// unless it has one or `key` names one.
#[napi(catch_unwind)]
pub fn open_cache_dir(
    path: String,
    key: Option<&[u8]>,
    new_key: &[u8],
    max_bytes: i64,
) -> Either<NativeCacheDir, NativeFailure> {
    let sized = |key: &[u8]| key.try_into().map_err(|_| "a key has 32 bytes".to_owned());
    let opened = key
        .map(sized)
        .transpose()
        .and_then(|key| CacheDir::open(Path::new(&path), key, sized(new_key)?, byte_count(max_bytes)));
    match opened {
        Ok(inner) => Either::A(NativeCacheDir { inner }),
        Err(problem) => Either::B(Failure::EngineInit(problem).into()),
    }
}

#[napi]
impl NativeCacheDir {
    /// Returns the compiled module of this content, if the directory has one for its engine.
    #[napi(catch_unwind)]
    pub fn find(&self, content: &NativeContent, max_image_bytes: i64) -> Option<NativeModule> {
        self.task(content, max_image_bytes).find()
    }

    /// Looks a module up off the JavaScript thread.
    #[napi(catch_unwind, ts_return_type = "Promise<NativeModule | null>")]
    pub fn find_async(&self, content: &NativeContent, max_image_bytes: i64) -> AsyncTask<FindTask> {
        AsyncTask::new(self.task(content, max_image_bytes))
    }

    /// Returns the counts since this process opened it.
    #[napi(catch_unwind)]
    pub fn stats(&self) -> NativeCacheDirStats {
        let stats = self.inner.stats();
        NativeCacheDirStats {
            hits: stats.hits as f64,
            misses: stats.misses as f64,
            rejected: stats.rejected as f64,
            writes: stats.writes as f64,
            write_failures: stats.write_failures as f64,
            evictions: stats.evictions as f64,
        }
    }

    fn task(&self, content: &NativeContent, max_image_bytes: i64) -> FindTask {
        FindTask {
            directory: Arc::clone(&self.inner),
            content: content.clone(),
            max_image_bytes: byte_count(max_image_bytes),
        }
    }
}

/// A lookup as a task of the thread pool.
pub struct FindTask {
    directory: Arc<CacheDir>,
    content: NativeContent,
    max_image_bytes: u64,
}

impl FindTask {
    fn find(&self) -> Option<NativeModule> {
        let name = self.content.image_name().ok()?;
        let image = self.directory.find(&name, self.max_image_bytes)?;
        // An image that cannot be loaded now is compiled again, which replaces the file.
        self.content.load(&image).ok()
    }
}

impl Task for FindTask {
    type Output = Option<NativeModule>;
    type JsValue = Option<NativeModule>;

    fn compute(&mut self) -> Result<Option<NativeModule>> {
        // A panic counts as a module that is not in the directory: it is compiled.
        Ok(catching(Failure::Instantiate, || Ok(self.find())).ok().flatten())
    }

    fn resolve(&mut self, _env: Env, found: Option<NativeModule>) -> Result<Option<NativeModule>> {
        Ok(found)
    }
}
