/** Checks that a Linux shared library is complete: loading a truncated file with glibc ends the process with SIGBUS. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

/** Size of the file header and of a section header in 64-bit files. */
const HEADER_BYTES = 64;
const MACHINES: Readonly<Record<string, number>> = { x64: 62, arm64: 183 };

/**
 * Throws an Error unless the file at `path` is for this processor and as long as its ELF header states. The file is 64-bit
 * and little-endian, as on every supported platform. The section headers are at the end of the file, also after stripping.
 * They are zero when writing stopped after the length of the file was set.
 */
export function checkElfIsWhole(path: string): void {
  const header = Buffer.alloc(HEADER_BYTES);
  const file = openSync(path, 'r');
  try {
    const read = readSync(file, header, 0, HEADER_BYTES, 0);
    if (read < HEADER_BYTES) throw new Error(`${path}: file too short (${read} bytes)`);
    if (header.readUInt32BE(0) !== 0x7f454c46) throw new Error(`${path}: invalid ELF header`);
    const machine = header.readUInt16LE(18);
    if (machine !== (MACHINES[process.arch] ?? machine)) throw new Error(`${path}: built for another processor`);
    const sections = Number(header.readBigUInt64LE(40));
    const expected = sections + header.readUInt16LE(58) * header.readUInt16LE(60);
    const { size } = fstatSync(file);
    if (size < expected) throw new Error(`${path}: file too short (${size} bytes of ${expected})`);
    const last = Buffer.alloc(HEADER_BYTES);
    readSync(file, last, 0, HEADER_BYTES, expected - HEADER_BYTES);
    const type = last.readUInt32LE(4);
    if (type === 0) throw new Error(`${path}: truncated while it was written`);
  } finally {
    closeSync(file);
  }
}
