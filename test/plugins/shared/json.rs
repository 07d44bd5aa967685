//! A JSON writer that keeps every bit of what it is given.

use alloc::string::String;
use core::fmt::Write;

/// JSON text under construction; commas place themselves.
#[derive(Default)]
pub struct Json(pub String);

impl Json {
    fn separate(&mut self) {
        if !matches!(self.0.as_bytes().last(), None | Some(b'{' | b'[' | b':')) {
            self.0.push(',');
        }
    }

    pub fn raw(&mut self, text: &str) {
        self.separate();
        self.0.push_str(text);
    }

    pub fn key(&mut self, name: &str) {
        self.string(name);
        self.0.push(':');
    }

    pub fn string(&mut self, text: &str) {
        self.separate();
        self.0.push('"');
        for character in text.chars() {
            match character {
                '"' | '\\' => self.0.extend(['\\', character]),
                '\0'..='\x1f' => write!(self.0, "\\u{:04x}", character as u32).unwrap(),
                _ => self.0.push(character),
            }
        }
        self.0.push('"');
    }

    /// Bytes as a string of lower-case hex digits.
    pub fn hex(&mut self, bytes: &[u8]) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.separate();
        self.0.reserve(2 * bytes.len() + 2);
        self.0.push('"');
        for byte in bytes {
            self.0.push(DIGITS[usize::from(byte >> 4)] as char);
            self.0.push(DIGITS[usize::from(byte & 15)] as char);
        }
        self.0.push('"');
    }

    pub fn open(&mut self, bracket: char) {
        self.separate();
        self.0.push(bracket);
    }

    pub fn close(&mut self, bracket: char) {
        self.0.push(bracket);
    }
}
