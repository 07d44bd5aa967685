//! Bytes for a `Buffer` of JavaScript, and numbers of bytes.

use std::cell::Cell;
use std::rc::Rc;

use napi::bindgen_prelude::{BufferSlice, ToNapiValue, sys};
use napi::{Env, Result};

/// Up to this size, the bytes are copied on the JavaScript thread. The memory of more becomes that of the Buffer.
const COPIED_BYTES: usize = 64 << 10;

/// Bytes that become a `Buffer`. They are freed if there is none: Node creates no values on a thread that is terminated
/// while its calls are in flight.
pub struct Bytes(pub Vec<u8>);

impl ToNapiValue for Bytes {
    unsafe fn to_napi_value(raw_env: sys::napi_env, Bytes(bytes): Bytes) -> Result<sys::napi_value> {
        let env = Env::from_raw(raw_env);
        let copied = bytes.len() <= COPIED_BYTES;
        let buffer = if copied { BufferSlice::copy_from(&env, bytes) } else { transfer(&env, bytes) };
        // SAFETY: the environment is that of the caller, who is on its thread.
        unsafe { ToNapiValue::to_napi_value(raw_env, &buffer?) }
    }
}

/// Creates a Buffer that owns the bytes. `BufferSlice::from_data` leaks them if that fails.
fn transfer(env: &Env, mut bytes: Vec<u8>) -> Result<BufferSlice<'_>> {
    let (start, length) = (bytes.as_mut_ptr(), bytes.len());
    let owner = Rc::new(Cell::new(bytes));
    let of_buffer = Rc::clone(&owner);
    // SAFETY: the bytes are not moved, and neither read nor freed here while there is a Buffer: its finalizer drops their
    // last owner.
    let buffer = unsafe { BufferSlice::from_external(env, start, length, of_buffer, |_, of_buffer| drop(of_buffer)) };
    buffer.inspect_err(|_| drop(owner.take()))
}

/// A number of bytes from JavaScript. TypeScript's schema excludes negative ones.
pub(crate) fn byte_count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
