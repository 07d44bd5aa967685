/** Whether a Linux shared library is complete. glibc's loader maps a file that was cut short and dies of SIGBUS in it. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

const HEADER_BYTES = 64;

/**
 * Throws an Error unless the file at `path` is as long as its ELF header says (64-bit, little endian, as every supported
 * platform has it). The table of sections stands at a file's end, after stripping too.
 */
export function checkElfIsWhole(path: string): void {
  const header = Buffer.alloc(HEADER_BYTES);
  const file = openSync(path, 'r');
  try {
    const read = readSync(file, header, 0, HEADER_BYTES, 0);
    if (read < HEADER_BYTES) throw new Error(`${path}: file too short (${read} bytes)`);
    if (header.readUInt32BE(0) !== 0x7f454c46) throw new Error(`${path}: invalid ELF header`);
    const sections = Number(header.readBigUInt64LE(40));
    const expected = sections + header.readUInt16LE(58) * header.readUInt16LE(60);
    const { size } = fstatSync(file);
    if (size < expected) throw new Error(`${path}: file too short (${size} bytes of ${expected})`);
  } finally {
    closeSync(file);
  }
}
