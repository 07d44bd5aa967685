/**
 * The rules about answers that the chain enforces. The adapters return an answer that breaks one, as those of the Rust
 * host do, but the breaker counts it as invalid. The chain checks each answer again, because its stages may be of the
 * caller.
 */
import type { FilterOutput } from '../types.ts';

const IS_HEAD = /^head$/i;

/** Whether a verdict names only candidates, each at most once. `sent` are the ids of the candidates. */
export function namesCandidatesOnce(
  { keptUpstreamIds, perCandidateReasons }: FilterOutput,
  sent: readonly string[],
): boolean {
  let kept = 0;
  let rejected = 0;
  // Most plugins name the candidates in their order.
  for (const id of sent) {
    if (id === keptUpstreamIds[kept]) kept++;
    else if (id === perCandidateReasons[rejected]?.upstreamId) rejected++;
  }
  if (kept === keptUpstreamIds.length && rejected === perCandidateReasons.length) return true;
  const unnamed = new Set(sent);
  return (
    keptUpstreamIds.every((id) => unnamed.delete(id)) &&
    perCandidateReasons.every(({ upstreamId }) => unnamed.delete(upstreamId))
  );
}

/** Whether a response has this status. A client waits for the final response after an informational one. */
export function isFinalStatus(status: number): boolean {
  return status >= 200;
}

/**
 * Whether a request of a shape may have this method in any case, for a client's request with `clientMethod`. As `fetch`
 * decides it: CONNECT opens a tunnel instead of sending a request, and the response to TRACE or TRACK contains the
 * request with the upstream's credentials. The response to HEAD has the content-length of a body that does not follow: a
 * client that sent another method would read the next response as that body.
 */
export function isForwardedMethod(method: string, clientMethod: string): boolean {
  return !/^(?:connect|trace|track)$/i.test(method) && (!IS_HEAD.test(method) || IS_HEAD.test(clientMethod));
}

/** Whether the text is a valid event type: a line break would start another field. */
export function isEventType(text: string): boolean {
  return !/[\r\n]/.test(text);
}
