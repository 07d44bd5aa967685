import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { checkElfIsWhole } from '../../src/native/elf.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const addon: string = createRequire(import.meta.url)('node-gyp-build').path(root);
const folder = mkdtempSync(join(tmpdir(), 'cc-lb-elf-'));
const file = join(folder, 'file.node');
afterAll(() => rmSync(folder, { recursive: true }));

describe.runIf(process.platform === 'linux')('checkElfIsWhole', () => {
  const bytes = readFileSync(addon);

  it('accepts a complete file, with and without trailing bytes', () => {
    expect(() => checkElfIsWhole(addon)).not.toThrow();
    writeFileSync(file, Buffer.concat([bytes, Buffer.alloc(100)]));
    expect(() => checkElfIsWhole(file)).not.toThrow();
  });

  it.each([0, 63, 64, bytes.length - 1])('rejects the first %i bytes', (length) => {
    writeFileSync(file, bytes.subarray(0, length));
    expect(() => checkElfIsWhole(file)).toThrow(/file too short \(\d+ bytes/);
  });

  it('rejects a file whose end was not written', () => {
    writeFileSync(file, Buffer.alloc(bytes.length).fill(bytes, 0, bytes.length >> 1));
    expect(() => checkElfIsWhole(file)).toThrow('truncated while it was written');
  });

  it('rejects a file for another processor', () => {
    const other = Buffer.from(bytes);
    other.writeUInt16LE(243, 18);
    writeFileSync(file, other);
    expect(() => checkElfIsWhole(file)).toThrow('built for another processor');
  });

  it('rejects a file that is not ELF', () => {
    writeFileSync(file, Buffer.alloc(1000, 'x'));
    expect(() => checkElfIsWhole(file)).toThrow('invalid ELF header');
  });

  it('throws ENOENT for a missing file', () => {
    expect(() => checkElfIsWhole(join(folder, 'nothing'))).toThrow(expect.objectContaining({ code: 'ENOENT' }));
  });
});
