//! Formats values of wire types as canonical JSON, and generates random values.
//!
//! Canonical JSON: fields in wire order by their TypeScript names; bytes as lower-case hex; header values as latin1
//! text; lists of headers and of claims flat; integers past 2^53 - 1 as `"123n"`; floats as the hex of their bits.

use crate::random::Random;

/// A type of the wire format.
pub trait Wire: Sized {
    fn print(&self, out: &mut String);
    fn sample(random: &mut Random) -> Self;
}

/// Prints a JSON string.
pub fn print_text(text: &str, out: &mut String) {
    out.push_str(&serde_json::to_string(text).expect("a string is always JSON"));
}

/// Prints each byte as one code point.
pub fn print_latin1(bytes: &[u8], out: &mut String) {
    print_text(&bytes.iter().map(|byte| char::from(*byte)).collect::<String>(), out);
}

impl Wire for Box<str> {
    fn print(&self, out: &mut String) {
        print_text(self, out);
    }
    fn sample(random: &mut Random) -> Self {
        random.text().into()
    }
}

impl Wire for Box<[u8]> {
    fn print(&self, out: &mut String) {
        out.push('"');
        for byte in self {
            out.push(char::from(b"0123456789abcdef"[usize::from(byte >> 4)]));
            out.push(char::from(b"0123456789abcdef"[usize::from(byte & 15)]));
        }
        out.push('"');
    }
    fn sample(random: &mut Random) -> Self {
        random.bytes().into()
    }
}

impl Wire for u16 {
    fn print(&self, out: &mut String) {
        out.push_str(&self.to_string());
    }
    fn sample(random: &mut Random) -> Self {
        random.integer() as u16
    }
}

impl Wire for u32 {
    fn print(&self, out: &mut String) {
        out.push_str(&self.to_string());
    }
    fn sample(random: &mut Random) -> Self {
        random.integer() as u32
    }
}

impl Wire for u64 {
    fn print(&self, out: &mut String) {
        if *self < 1 << 53 {
            out.push_str(&self.to_string());
        } else {
            out.push_str(&format!("\"{self}n\""));
        }
    }
    fn sample(random: &mut Random) -> Self {
        random.integer()
    }
}

impl Wire for f64 {
    fn print(&self, out: &mut String) {
        if self.is_nan() {
            out.push_str("\"NaN\"");
        } else {
            out.push_str(&format!("\"{:016x}\"", self.to_bits()));
        }
    }
    fn sample(random: &mut Random) -> Self {
        match random.below(6) {
            0 => 1.0,
            1 => 0.1,
            2 => -0.0,
            3 => f64::INFINITY,
            4 => f64::MIN_POSITIVE / 2.0,
            _ => random.integer() as f64 / 7.0,
        }
    }
}

impl<T: Wire> Wire for Option<T> {
    fn print(&self, out: &mut String) {
        match self {
            Some(value) => value.print(out),
            None => out.push_str("null"),
        }
    }
    fn sample(random: &mut Random) -> Self {
        (random.below(3) > 0).then(|| T::sample(random))
    }
}

impl<T: Wire> Wire for Box<[T]> {
    fn print(&self, out: &mut String) {
        out.push('[');
        for (index, element) in self.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            element.print(out);
        }
        out.push(']');
    }
    fn sample(random: &mut Random) -> Self {
        (0..random.count()).map(|_| T::sample(random)).collect()
    }
}
