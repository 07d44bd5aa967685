import type { FilterOutput, RejectionReason, ShapedRequest } from '../types.ts';
import { parseUuid } from '../uuid.ts';
import { truncateUtf8, type WireBounds } from './bounds.ts';
import { shapedHeaders } from './headers.ts';
import { originAllowed, type ShapeOriginPolicy } from './origin.ts';
import { AnswerRefused, quoted } from './refusal.ts';
import { isToken } from './token.ts';

/** One result of a filter's answer, as it was decoded. */
export interface FilterVerdict {
  readonly upstreamId: string;
  readonly decision: string;
  readonly reason: string;
}

/** A shape's answer, as it was decoded. `headers` is flat: name, value, name, value; text values are latin1 code units. */
export interface ShapeAnswer {
  readonly url: string;
  readonly method: string;
  readonly headers: readonly (string | Uint8Array)[];
  readonly body: Uint8Array;
}

/** The decision that keeps a candidate; it is compared as it stands, `Accept` rejects. */
const ACCEPT = 'accept';

/**
 * Turns a filter's results into its verdict. Repeated and unknown ids are kept as they are: the chain judges them.
 * `sent` are the ids of the candidates as they crossed; one that comes back in its place is known to be one.
 * @throws AnswerRefused where any id, even a rejected one's, is no UUID
 */
export function filterOutput(
  results: readonly FilterVerdict[],
  bounds: Pick<WireBounds, 'reasonBytes'>,
  sent: readonly string[] = [],
): FilterOutput {
  const keptUpstreamIds: string[] = [];
  const perCandidateReasons: { upstreamId: string; reason: RejectionReason; text: string }[] = [];
  let reason = '';
  for (let index = 0; index < results.length; index++) {
    const result = results[index]!;
    const upstreamId = result.upstreamId === sent[index] ? result.upstreamId : parseUuid(result.upstreamId);
    if (upstreamId === null) {
      throw new AnswerRefused('upstream_id', `upstream_id ${quoted(result.upstreamId)} is not a valid UUID`);
    }
    const text = truncateUtf8(result.reason, bounds.reasonBytes);
    if (result.decision === ACCEPT) keptUpstreamIds.push(upstreamId);
    else perCandidateReasons.push({ upstreamId, reason: rejectionReason(result.decision), text });
    // Judged before the cut: a cap of 0 leaves `id: `. The id stands in the plugin's own spelling.
    if (result.reason !== '') reason += `${reason === '' ? '' : '; '}${result.upstreamId}: ${text}`;
  }
  return { keptUpstreamIds, reason, perCandidateReasons };
}

/** What a plugin's label for a rejection means. ASCII case and `-` against `_` make no difference. */
export function rejectionReason(label: string): RejectionReason {
  // What nearly every rejection says.
  if (label === 'reject') return 'rejected_by_plugin';
  if (/rate[-_]limit/i.test(label)) return 'rate_limited';
  if (/quota/i.test(label)) return 'insufficient_quota';
  if (/unhealthy/i.test(label)) return 'unhealthy';
  return 'rejected_by_plugin';
}

/**
 * Turns a shape's answer into the request for the upstream. The checks stand in the order of the contract: header
 * count, URL, origin, method, then each header line. The size of the archive was checked before it was decoded.
 * @throws AnswerRefused
 */
export function shapedRequest(
  answer: ShapeAnswer,
  baseUrl: URL | null,
  rules: { readonly originPolicy: ShapeOriginPolicy; readonly bounds: WireBounds },
): ShapedRequest {
  const lines = answer.headers.length / 2;
  if (lines > rules.bounds.maxHeaders) {
    throw new AnswerRefused(
      'max_headers',
      `the answer has ${lines} headers, more than maxHeaders (${rules.bounds.maxHeaders})`,
    );
  }
  const url = parseUrl(answer.url);
  if (!originAllowed(url, baseUrl, rules.originPolicy)) {
    throw new AnswerRefused(
      'origin',
      `the answer's URL has origin ${quoted(url.origin)}, the selected upstream has ${quoted(baseUrl?.origin ?? '')}`,
    );
  }
  if (!isToken(answer.method)) {
    throw new AnswerRefused('method', `method ${quoted(answer.method)} is not a valid token`);
  }
  return { url, method: answer.method, headers: shapedHeaders(answer.headers, rules.bounds), body: answer.body };
}

/**
 * Refuses a transform's status outside 100–999.
 * @throws AnswerRefused
 */
export function checkStatus(status: number): void {
  if (status < 100 || status > 999) throw new AnswerRefused('status', `status ${status} is not within 100 to 999`);
}

function parseUrl(text: string): URL {
  try {
    return new URL(text);
  } catch {
    throw new AnswerRefused('url', `${quoted(text)} is not an absolute URL`);
  }
}
