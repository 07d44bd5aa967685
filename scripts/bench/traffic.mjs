// Requests that differ from call to call: bodies, headers, ids, scores and claims, as the Rust peer makes its own.
import { randomBytes, randomInt, randomUUID } from 'node:crypto';

const RING_BYTES = 64 * 1024 * 1024;
const NAMES = [
  'accept',
  'accept-encoding',
  'anthropic-beta',
  'anthropic-version',
  'content-type',
  'user-agent',
  'x-app',
  'x-forwarded-for',
  'x-request-id',
  'x-stainless-lang',
  'x-stainless-os',
  'authorization',
];

const letters = (length) => randomBytes(length).toString('hex').slice(0, length);

/** As many requests as fit into 64 MiB of bodies, at least 4 and at most 64. */
export function traffic({ bodyBytes, candidates = 8 }) {
  const count = Math.min(64, Math.max(4, Math.floor(RING_BYTES / bodyBytes)));
  return Array.from({ length: count }, () => ({
    ctx: {
      requestId: `req_${letters(24)}`,
      method: 'POST',
      path: '/v1/messages',
      query: 'beta=true',
      headers: NAMES.map((name) => [name, letters(randomInt(8, 41))]),
      body: randomBytes(bodyBytes),
    },
    principal: { id: letters(12), kind: 'api_key', claims: { keep: randomInt(1, 4), plan: letters(6) } },
    candidates: Array.from({ length: candidates }, () => ({
      upstreamId: randomUUID(),
      name: letters(10),
      kind: 'anthropic_api_key',
      observedAtUnixSecs: 1_700_000_000 + randomInt(1_000_000),
      predictedCacheReadTokens: randomInt(100_001),
    })),
    upstream: { kind: 'anthropic_direct', baseUrl: 'https://api.anthropic.com' },
  }));
}
