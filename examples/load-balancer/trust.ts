/** Verifies the hash and the signature of a plugin's bytes before they are parsed. */
import { createHash, type KeyObject, timingSafeEqual, verify } from 'node:crypto';

/** The hash and the signature of a plugin's bytes. */
export interface Pins {
  /** SHA-256 in lower-case hex. */
  readonly sha256?: string | undefined;
  /** An Ed25519 signature of the bytes; required if there are trusted keys. */
  readonly signature?: Buffer | undefined;
}

/**
 * Verifies bytes against their hash and, if there are trusted Ed25519 keys, against a signature by one of them.
 * @throws Error with the mismatch
 */
export function checkTrust(bytes: Buffer, { sha256, signature }: Pins, trustedKeys: readonly KeyObject[]): void {
  if (sha256 !== undefined) {
    const actual = createHash('sha256').update(bytes).digest();
    if (!timingSafeEqual(actual, Buffer.from(sha256, 'hex'))) {
      throw new Error(`the SHA-256 is ${actual.toString('hex')}, pinned is ${sha256}`);
    }
  }
  if (trustedKeys.length === 0) return;
  if (signature === undefined) throw new Error('there is no signature');
  if (!trustedKeys.some((key) => verify(null, bytes, key, signature))) {
    throw new Error('the signature is by no trusted key');
  }
}

/** Parses a signature file: 64 bytes, or their Base64. @throws Error for other contents */
export function parseSignature(content: Buffer): Buffer {
  const raw = content.length === 64 ? content : Buffer.from(content.toString('latin1').trim(), 'base64');
  if (raw.length !== 64) throw new Error('the signature file holds neither 64 bytes nor their Base64');
  return raw;
}
