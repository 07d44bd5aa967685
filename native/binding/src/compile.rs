//! The handle to a compilation that the supervisor runs.

use std::sync::Arc;
use std::time::Duration;

use cc_lb_engine::compile::{CacheDir, Capacity, Command, Compilation, CompileIn, Limits, Request, submit};
use cc_lb_engine::failure::{CompileReason, Failure, catching};
use napi::bindgen_prelude::{AsyncTask, Either};
use napi::{Env, Result, Task};
use napi_derive::napi;

use crate::bytes::byte_count;
use crate::cache_dir::NativeCacheDir;
use crate::content::NativeContent;
use crate::failure::NativeFailure;
use crate::module::NativeModule;

/// The command of a compile process.
#[napi(object, object_to_js = false)]
pub struct NativeCommand {
    /// The absolute path of the executable.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The variables of its environment, each `NAME=value`.
    pub environment: Vec<String>,
    /// Milliseconds that an idle process waits for the next module.
    pub spare_ms: u32,
}

/// The options of a compilation.
#[napi(object, use_nullable = true, object_to_js = false)]
pub struct NativeCompileOptions {
    /// The owner of the module; null is shared by all modules without one.
    pub principal: Option<String>,
    /// The command of the compile process; null compiles on a thread.
    pub command: Option<NativeCommand>,
    /// Maximum duration in milliseconds.
    pub timeout_ms: u32,
    /// Bytes of memory that it may use.
    pub max_bytes: i64,
    /// Maximum bytes of the compiled module.
    pub max_image_bytes: i64,
    /// Concurrent compilations in the whole process.
    pub max_running: u32,
    /// Bytes of memory of all concurrent compilations.
    pub max_total_bytes: i64,
    /// Maximum number of waiting compilations.
    pub max_waiting: u32,
    /// Maximum bytes of waiting modules.
    pub max_waiting_bytes: i64,
    /// Whether this thread will block until it ends.
    pub urgent: bool,
}

impl NativeCompileOptions {
    fn request(self, content: &NativeContent) -> Request {
        Request {
            code: content.code_settings(),
            wasm: Arc::clone(&content.wasm),
            hash: content.hash.clone(),
            principal: self.principal,
            limits: Limits {
                time: Duration::from_millis(u64::from(self.timeout_ms)),
                memory: byte_count(self.max_bytes),
                image: byte_count(self.max_image_bytes),
            },
            capacity: Capacity {
                running: u64::from(self.max_running),
                memory: byte_count(self.max_total_bytes),
                waiting: u64::from(self.max_waiting),
                waiting_bytes: byte_count(self.max_waiting_bytes),
            },
            compile_in: self.command.map_or(CompileIn::Thread, NativeCommand::compile_in),
            urgent: self.urgent,
        }
    }
}

impl NativeCommand {
    fn compile_in(self) -> CompileIn {
        let variable = |text: &String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        let command = Command {
            program: self.program,
            arguments: self.arguments,
            environment: self.environment.iter().filter_map(variable).collect(),
        };
        CompileIn::Process { command: Arc::new(command), spare: Duration::from_millis(u64::from(self.spare_ms)) }
    }
}

/// A compilation that waits or runs. Garbage collection cancels it.
#[napi]
pub struct NativeCompilation(LoadTask);

/// Queues a compilation. Fails if a limit of the queue is reached, or if the module exceeded the same limits recently. The
/// image is written to the directory, if there is one.
#[napi(catch_unwind)]
pub fn start_compile(
    content: &NativeContent,
    options: NativeCompileOptions,
    keep_in: Option<&NativeCacheDir>,
) -> Either<NativeCompilation, NativeFailure> {
    match submit(options.request(content)) {
        Ok(compilation) => Either::A(NativeCompilation(LoadTask {
            compilation: Arc::new(compilation),
            content: content.clone(),
            keep_in: keep_in.map(|directory| Arc::clone(&directory.inner)),
        })),
        Err(failure) => Either::B(failure.into()),
    }
}

/// Turns this process into a compile process, which ends without returning to JavaScript.
#[napi(catch_unwind)]
pub fn run_compile_process() {
    cc_lb_engine::compile::run_compile_process()
}

#[napi]
impl NativeCompilation {
    /// Whether it has ended.
    #[napi(catch_unwind)]
    pub fn ended(&self) -> bool {
        self.0.compilation.ended()
    }

    /// Blocks this thread until it has ended.
    #[napi(catch_unwind)]
    pub fn wait(&self) {
        self.0.compilation.wait();
    }

    /// Cancels it immediately, without a result.
    #[napi(catch_unwind)]
    pub fn cancel(&self) {
        self.0.compilation.cancel();
    }

    /// Loads the compiled module into its engine, once, after the compilation has ended.
    #[napi(catch_unwind)]
    pub fn load(&self) -> Either<NativeModule, NativeFailure> {
        Loaded(self.0.load()).into()
    }

    /// Loads the module off the JavaScript thread.
    #[napi(catch_unwind, ts_return_type = "Promise<NativeModule | NativeFailure>")]
    pub fn load_async(&self) -> AsyncTask<LoadTask> {
        AsyncTask::new(self.0.clone())
    }
}

/// The loading of a compiled module as a task of the thread pool.
#[derive(Clone)]
pub struct LoadTask {
    compilation: Arc<Compilation>,
    content: NativeContent,
    keep_in: Option<Arc<CacheDir>>,
}

/// A compiled module or the failure, before it is converted for JavaScript.
pub struct Loaded(std::result::Result<NativeModule, Failure>);

impl From<Loaded> for Either<NativeModule, NativeFailure> {
    fn from(loaded: Loaded) -> Self {
        match loaded.0 {
            Ok(module) => Either::A(module),
            Err(failure) => Either::B(failure.into()),
        }
    }
}

impl LoadTask {
    fn load(&self) -> std::result::Result<NativeModule, Failure> {
        let image = self.compilation.take()?;
        let module = self.content.load(&image)?;
        if let Some(directory) = &self.keep_in {
            directory.keep(&self.content.image_name()?, &image);
        }
        Ok(module)
    }
}

impl Task for LoadTask {
    type Output = Loaded;
    type JsValue = Either<NativeModule, NativeFailure>;

    fn compute(&mut self) -> Result<Loaded> {
        let panicked = |message| Failure::Compile { reason: CompileReason::Crash, message };
        Ok(Loaded(catching(panicked, || self.load())))
    }

    fn resolve(&mut self, _env: Env, loaded: Loaded) -> Result<Self::JsValue> {
        Ok(loaded.into())
    }
}
