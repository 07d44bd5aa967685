//! The oracle of the wire codec: rkyv with the published wire crates.

mod bench;
mod random;
mod schemas;
mod wire;

use std::io::{self, BufReader, BufWriter, Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rkyv::util::AlignedVec;

use random::Random;
use schemas::{Root, Verdict, fingerprints, roots};

const USAGE: &str = "usage: cc-lb-wire-oracle roots | fingerprints | vectors <per-root> <seed> | judge | bench";

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["roots"] => print_roots(&mut out)?,
        ["fingerprints"] => print_fingerprints(&mut out)?,
        ["vectors", count, seed] => print_vectors(number(count)?, number(seed)?, &mut out)?,
        ["judge"] => judge(&mut BufReader::with_capacity(1 << 20, io::stdin().lock()), &mut out)?,
        ["bench"] => writeln!(out, "{}", bench::run())?,
        _ => return Err(io::Error::other(USAGE)),
    }
    out.flush()
}

fn number(text: &str) -> io::Result<u64> {
    text.parse().map_err(|_| io::Error::other(USAGE))
}

/// One line per root type: its number for `judge`, wire crate, name, archived size and alignment.
fn print_roots(out: &mut impl Write) -> io::Result<()> {
    for (index, Root { wire, name, size, align, .. }) in roots().iter().enumerate() {
        writeln!(
            out,
            "{{\"index\":{index},\"wire\":\"{wire}\",\"name\":\"{name}\",\"size\":{size},\"align\":{align}}}"
        )?;
    }
    Ok(())
}

fn print_fingerprints(out: &mut impl Write) -> io::Result<()> {
    for fingerprint in fingerprints() {
        let hex: String = fingerprint.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let (wire, hook) = (fingerprint.wire, fingerprint.hook);
        writeln!(out, "{{\"wire\":\"{wire}\",\"hook\":\"{hook}\",\"fingerprint\":\"{hex}\"}}")?;
    }
    Ok(())
}

/// One line per vector: root type, bytes in base64, value as canonical JSON.
fn print_vectors(count: u64, seed: u64, out: &mut impl Write) -> io::Result<()> {
    for (index, root) in roots().iter().enumerate() {
        let mut random = Random(seed.wrapping_add(index as u64));
        for _ in 0..count {
            let bytes = (root.sample)(&mut random);
            let Verdict::Accepted { value, canonical: true } = (root.judge)(&bytes) else {
                return Err(io::Error::other("rkyv does not accept its own bytes"));
            };
            let (wire, name, encoded) = (root.wire, root.name, STANDARD.encode(&bytes));
            writeln!(out, "{{\"wire\":\"{wire}\",\"name\":\"{name}\",\"bytes\":\"{encoded}\",\"value\":{value}}}")?;
        }
    }
    Ok(())
}

/// Reads frames of `root: u8, length: u32 LE, bytes` until the end of input and answers each with `verdict: u8 (0
/// rejected, 1 accepted, 2 accepted and canonical), length: u32 LE, value`. A frame of root 255 flushes.
fn judge(input: &mut impl Read, out: &mut impl Write) -> io::Result<()> {
    let roots = roots();
    let mut header = [0; 5];
    let mut bytes = AlignedVec::<16>::new();
    while input.read_exact(&mut header).is_ok() {
        let length = u32::from_le_bytes([header[1], header[2], header[3], header[4]]) as usize;
        bytes.resize(length, 0);
        input.read_exact(&mut bytes)?;
        if header[0] == u8::MAX {
            out.flush()?;
            continue;
        }
        let root = roots.get(usize::from(header[0])).ok_or_else(|| io::Error::other("no such root type"))?;
        let (verdict, value) = match (root.judge)(&bytes) {
            Verdict::Rejected => (0, String::new()),
            Verdict::Accepted { value, canonical: false } => (1, value),
            Verdict::Accepted { value, canonical: true } => (2, value),
        };
        out.write_all(&[verdict])?;
        out.write_all(&(value.len() as u32).to_le_bytes())?;
        out.write_all(value.as_bytes())?;
    }
    Ok(())
}
