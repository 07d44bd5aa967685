//! The protocol of a compile process, which compiles one module and exits.
//!
//! ```text
//! parent (supervisor)                            compile process
//!     |  <------- READY -------------------------  |  after it has set its limits
//!     |  -------- job header, module ----------->  |
//!     |  <------- answer header, payload --------  |  an image, or the compiler's message
//! ```
//!
//! Numbers are little-endian u64. The parent validates everything it reads, because the process may be compromised.

use std::time::Duration;

use crate::options::{CodeSettings, Layout};

/// The first bytes that a compile process writes. A different version of the package, which may have replaced this one
/// on disk since this process started, does not write them.
pub const READY: &[u8] = concat!("cc-lb-compile ", env!("CARGO_PKG_VERSION"), "\n").as_bytes();
/// Bytes of an encoded [`JobHeader`].
pub const JOB_HEADER_BYTES: usize = 11 * 8;
/// Bytes of an encoded [`AnswerHeader`].
pub const ANSWER_HEADER_BYTES: usize = 8 + 8 + DIGEST_BYTES;
const DIGEST_BYTES: usize = blake3::OUT_LEN;

/// Exit code: an allocation failed, because the process reached its memory limit.
pub const EXIT_MEMORY: i32 = 81;
/// Exit code: the parent closed its end or did not send a valid job.
pub const EXIT_NO_JOB: i32 = 82;
/// Exit code: a limit could not be set or the compiling thread could not be started; stderr has the reason.
pub const EXIT_NOT_CONFINED: i32 = 83;

/// The job that follows in the same pipe.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JobHeader {
    /// The settings of the compiler.
    pub code: CodeSettings,
    /// Bytes of memory that the compilation may use.
    pub memory: u64,
    /// Time that the compilation may take.
    pub time: Duration,
    /// Bytes of the module that follow.
    pub wasm_bytes: u64,
}

impl JobHeader {
    /// Encodes the header.
    pub fn encode(&self) -> [u8; JOB_HEADER_BYTES] {
        let time = u64::try_from(self.time.as_millis()).unwrap_or(u64::MAX);
        let layout = |layout: &Layout| [layout.reservation, layout.guard, u64::from(layout.may_move)];
        let limits = [self.memory, time, self.wasm_bytes];
        let words = [layout(&self.code.memory), layout(&self.code.gc_heap), limits];
        let flags = [self.code.copy_on_write, self.code.address_map].map(u64::from);
        let words = words.as_flattened().iter().copied().chain(flags);
        let mut bytes = [0; JOB_HEADER_BYTES];
        for (encoded, word) in bytes.chunks_exact_mut(8).zip(words) {
            encoded.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Decodes the header.
    pub fn decode(bytes: &[u8; JOB_HEADER_BYTES]) -> JobHeader {
        let word = |index: usize| word_at(bytes, index * 8);
        let layout =
            |index| Layout { reservation: word(index), guard: word(index + 1), may_move: word(index + 2) != 0 };
        JobHeader {
            code: CodeSettings {
                memory: layout(0),
                gc_heap: layout(3),
                copy_on_write: word(9) != 0,
                address_map: word(10) != 0,
            },
            memory: word(6),
            time: Duration::from_millis(word(7)),
            wasm_bytes: word(8),
        }
    }
}

/// The kind of the payload of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status {
    /// The image, from `Engine::precompile_module`.
    Image,
    /// The compiler's error for the module, in UTF-8.
    Refused,
    /// The message of the compiler's panic, in UTF-8.
    Panicked,
}

/// The answer that follows in the same pipe.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AnswerHeader {
    /// The kind of the payload.
    pub status: Status,
    /// BLAKE3 of the module that was compiled.
    pub digest: [u8; DIGEST_BYTES],
    /// Bytes of the payload.
    pub payload_bytes: u64,
}

impl AnswerHeader {
    /// Encodes the header.
    pub fn encode(&self) -> [u8; ANSWER_HEADER_BYTES] {
        let mut bytes = [0; ANSWER_HEADER_BYTES];
        bytes[..8].copy_from_slice(&(self.status as u64).to_le_bytes());
        bytes[8..16].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[16..].copy_from_slice(&self.digest);
        bytes
    }

    /// Decodes the header. Returns `None` for an unknown status.
    pub fn decode(bytes: &[u8; ANSWER_HEADER_BYTES]) -> Option<AnswerHeader> {
        let status = [Status::Image, Status::Refused, Status::Panicked]
            .into_iter()
            .find(|status| *status as u64 == word_at(bytes, 0))?;
        let digest = bytes[16..].try_into().expect("the rest of the header is the digest");
        Some(AnswerHeader { status, payload_bytes: word_at(bytes, 8), digest })
    }
}

fn word_at(bytes: &[u8], start: usize) -> u64 {
    u64::from_le_bytes(bytes[start..start + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_decode_to_what_was_encoded() {
        let memory = Layout { reservation: 1 << 40, guard: 3, may_move: true };
        let gc_heap = Layout { reservation: 8, guard: 9, may_move: false };
        let code = CodeSettings { memory, gc_heap, copy_on_write: true, address_map: false };
        let job = JobHeader { code, memory: 5, time: Duration::from_millis(6), wasm_bytes: 7 };
        assert_eq!(JobHeader::decode(&job.encode()), job);
        for status in [Status::Image, Status::Refused, Status::Panicked] {
            let answer = AnswerHeader { status, digest: [9; 32], payload_bytes: 1 << 33 };
            assert_eq!(AnswerHeader::decode(&answer.encode()), Some(answer));
        }
    }

    #[test]
    fn an_unknown_status_is_refused() {
        assert_eq!(AnswerHeader::decode(&[0xff; ANSWER_HEADER_BYTES]), None);
    }
}
