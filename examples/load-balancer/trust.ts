/** Verifies the hashes and the signatures of files before they are parsed. */
import { createHash, type KeyObject, timingSafeEqual, verify } from 'node:crypto';

/**
 * Verifies the hash of `bytes`. `sha256` is in lower-case hex; absent matches all bytes.
 * @throws Error with both hashes if they differ
 */
export function checkHash(bytes: Buffer, sha256: string | undefined): void {
  if (sha256 === undefined) return;
  const actual = createHash('sha256').update(bytes).digest();
  if (timingSafeEqual(actual, Buffer.from(sha256, 'hex'))) return;
  throw new Error(`the SHA-256 is ${actual.toString('hex')}, pinned is ${sha256}`);
}

/**
 * Verifies that one of the trusted Ed25519 keys signed `bytes`. Without trusted keys no signature is required.
 * `signature` is the content of the signature file: 64 bytes, or their Base64; undefined if there is no file.
 * @throws Error with the reason
 */
export function checkSignature(bytes: Buffer, signature: Buffer | undefined, trustedKeys: readonly KeyObject[]): void {
  if (trustedKeys.length === 0) return;
  if (signature === undefined) throw new Error('there is no signature');
  const raw = rawSignature(signature);
  if (trustedKeys.some((key) => verify(null, bytes, key, raw))) return;
  throw new Error('the signature is by no trusted key');
}

function rawSignature(content: Buffer): Buffer {
  const raw = content.length === 64 ? content : Buffer.from(content.toString('latin1').trim(), 'base64');
  if (raw.length !== 64) throw new Error('the signature file holds neither 64 bytes nor their Base64');
  return raw;
}
