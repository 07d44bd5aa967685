import { quoted } from '../printable.ts';
import type { FilterOutput, RejectionReason, ShapedRequest } from '../types.ts';
import { parseUuid } from '../uuid.ts';
import type { CandidateVerdict } from '../wire/messages/filter.ts';
import type { ShapeResponse } from '../wire/messages/shape.ts';
import { truncateUtf8, type WireBounds } from './bounds.ts';
import { checkHeaderCount, shapedHeaders } from './headers.ts';
import { InvalidAnswerError } from './invalid-answer.ts';
import { originProblem, type ShapeOriginPolicy } from './origin.ts';
import { isToken } from './token.ts';

/** The decision that keeps a candidate. The comparison is exact: `Accept` rejects. */
const ACCEPT = 'accept';
/** A rejection's meaning is searched in this many characters of its label. */
const MAX_LABEL_UNITS = 1_024;
/** Longest URL of an answer: parsing one of megabytes would block the event loop. */
const MAX_URL_UNITS = 65_536;
/** Longest authority, because the time to parse a host grows steeply with its length. A DNS name has 253 characters. */
const MAX_AUTHORITY_UNITS = 1_024;
/** The authority of a URL as URL parsers read it: they ignore tabs and line breaks, and accept any number of slashes. */
const AUTHORITY = /^[^:]*:[\t\n\r/\\]*([^/\\?#]*)/;

/**
 * Converts a filter's results to its verdict. Repeated and unknown ids are preserved: the chain rejects them. `sent`
 * are the encoded ids of the candidates; a result with the id at the same index needs no validation.
 * @throws InvalidAnswerError for an id that is not a valid UUID, also in a rejection
 */
export function filterOutput(
  results: readonly CandidateVerdict[],
  bounds: Pick<WireBounds, 'reasonBytes'>,
  sent: readonly string[] = [],
): FilterOutput {
  const keptUpstreamIds: string[] = [];
  const perCandidateReasons: { upstreamId: string; reason: RejectionReason; text: string }[] = [];
  let reason = '';
  for (let index = 0; index < results.length; index++) {
    const result = results[index]!;
    const known = sent[index];
    // The same string, so that a later comparison with the candidate's id reads no characters.
    const upstreamId = result.upstreamId === known ? known : parseUuid(result.upstreamId);
    if (upstreamId === null) {
      throw new InvalidAnswerError('upstream_id', `upstream_id ${quoted(result.upstreamId)} is not a valid UUID`);
    }
    const text = truncateUtf8(result.reason, bounds.reasonBytes);
    if (result.decision === ACCEPT) keptUpstreamIds.push(upstreamId);
    else perCandidateReasons.push({ upstreamId, reason: rejectionReason(result.decision), text });
    // Checked before truncation: a limit of 0 leaves `id: `. The id is in the plugin's own spelling.
    if (result.reason !== '') reason += `${reason === '' ? '' : '; '}${result.upstreamId}: ${text}`;
  }
  return { keptUpstreamIds, reason, perCandidateReasons };
}

/**
 * Returns the meaning of a plugin's label for a rejection, by its first 1,024 characters. ASCII case is ignored, and `-`
 * equals `_`.
 */
export function rejectionReason(text: string): RejectionReason {
  // The label of nearly every rejection.
  if (text === 'reject') return 'rejected_by_plugin';
  const label = text.slice(0, MAX_LABEL_UNITS);
  if (/rate[-_]limit/i.test(label)) return 'rate_limited';
  if (/quota/i.test(label)) return 'insufficient_quota';
  if (/unhealthy/i.test(label)) return 'unhealthy';
  return 'rejected_by_plugin';
}

/**
 * Converts a shape's answer to the request for the upstream. The checks are in the order of the contract: header count,
 * URL, origin, method, then each header line. The size of the archive was checked before it was decoded.
 * @throws InvalidAnswerError
 */
export function shapedRequest(
  answer: ShapeResponse,
  baseUrl: URL | null,
  rules: { readonly originPolicy: ShapeOriginPolicy; readonly bounds: WireBounds },
): ShapedRequest {
  checkHeaderCount(answer.headers, rules.bounds);
  const url = parseUrl(answer.url);
  const problem = originProblem(url, baseUrl, rules.originPolicy);
  if (problem !== null) throw new InvalidAnswerError('origin', problem);
  if (!isToken(answer.method)) {
    throw new InvalidAnswerError('method', `method ${quoted(answer.method)} is not a valid token`);
  }
  return { url, method: answer.method, headers: shapedHeaders(answer.headers, rules.bounds), body: answer.body };
}

/**
 * Rejects a transform's status outside 100–999.
 * @throws InvalidAnswerError
 */
export function checkStatus(status: number): void {
  if (status < 100 || status > 999)
    throw new InvalidAnswerError('status', `status ${status} is not in the range 100 to 999`);
}

function parseUrl(text: string): URL {
  if (text.length > MAX_URL_UNITS) {
    throw new InvalidAnswerError('url', `the answer's URL has more than ${MAX_URL_UNITS} characters`);
  }
  if (text.length > MAX_AUTHORITY_UNITS && (AUTHORITY.exec(text)?.[1]?.length ?? 0) > MAX_AUTHORITY_UNITS) {
    throw new InvalidAnswerError('url', `the URL has an authority of more than ${MAX_AUTHORITY_UNITS} characters`);
  }
  try {
    return new URL(text);
  } catch {
    throw new InvalidAnswerError('url', `${quoted(text)} is not an absolute URL`);
  }
}
