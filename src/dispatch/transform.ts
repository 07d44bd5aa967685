/** The transforms of a shape plugin: a whole response, or one event of a stream. */
import type { RuntimeAccess } from '../access.ts';
import { GuestTrapError, InvalidArgumentError, ResponseTransformError } from '../errors.ts';
import { checkStatus } from '../policy/decision.ts';
import { responseHeaders, transformedHeaders } from '../policy/headers.ts';
import type { Cell } from '../slots.ts';
import type {
  TransformContext,
  TransformResponseInput,
  TransformResponseOutput,
  TransformSseEventInput,
  TransformSseEventOutput,
} from '../types.ts';
import { decodeAnswer } from '../wire/decode.ts';
import { type CallOptions, checkObject, type PreparedCall, type TellFault, targetOf } from './adapter.ts';
import { checkBytes, encodeMessage } from './call.ts';
import { bodyOf, keep, principalValue, upstreamUrl } from './values.ts';

/** A transform's failure as its own class. */
export const tellTransform: TellFault = (fault, context) =>
  new ResponseTransformError(
    fault instanceof GuestTrapError ? 'trap' : 'runtime',
    `transform plugin failed: ${fault.message}`,
    context,
  );

/** A call of `transform_response`, which the cell declares and wants called. */
export function prepareResponse(
  runtime: RuntimeAccess,
  cell: Cell,
  input: TransformResponseInput,
  options: CallOptions | undefined,
): PreparedCall<TransformResponseOutput> {
  const edition = cell.editions.transform_response!;
  const { wireBounds } = runtime.dispatcher.config;
  const request = { ...exchange(input, edition.oauthPrincipalKind), body: bodyOf(input.body) };
  return {
    target: targetOf(cell, 'transform_response', options, request.principal.id, wireBounds.outputBodyBytes),
    encode: encodeMessage(edition.request, request),
    read: (bytes, owned) => {
      const answer = decodeAnswer(edition.response, bytes);
      if (answer.kind === 'unchanged') return { kind: 'unchanged' };
      const { status, headers, body } = answer;
      if (status !== null) checkStatus(status);
      return {
        kind: 'replace',
        ...(status === null ? {} : { status }),
        ...(headers === null ? {} : { headers: transformedHeaders(headers) }),
        ...(body === null ? {} : { body: keep(body, owned) }),
      };
    },
    bytes: request.body.length,
  };
}

/** A call of `transform_sse_event`, which the cell declares and wants called. */
export function prepareSseEvent(
  runtime: RuntimeAccess,
  cell: Cell,
  input: TransformSseEventInput,
  options: CallOptions | undefined,
): PreparedCall<TransformSseEventOutput> {
  const edition = cell.editions.transform_sse_event!;
  const { wireBounds } = runtime.dispatcher.config;
  checkObject(input.event, 'event');
  checkBytes(input.event.data, 'event.data');
  const request = { ...exchange(input, edition.oauthPrincipalKind), event: input.event };
  return {
    target: targetOf(cell, 'transform_sse_event', options, request.principal.id, wireBounds.outputBodyBytes),
    encode: encodeMessage(edition.request, request),
    read: (bytes, owned) => {
      const answer = decodeAnswer(edition.response, bytes);
      if (answer.kind !== 'replace') return { kind: answer.kind };
      return { kind: 'replace', events: answer.events.map(({ event, data }) => ({ event, data: keep(data, owned) })) };
    },
    bytes: input.event.data.length,
  };
}

/** The wire has room for 16 bits; which codes make sense is between the upstream and its client. */
function statusOf(status: unknown): number {
  if (typeof status !== 'number' || !Number.isInteger(status) || status < 0 || status > 0xffff) {
    throw new InvalidArgumentError('status', 'expected an integer from 0 to 65535');
  }
  return status;
}

function exchange(input: TransformContext, oauthPrincipalKind: string) {
  return {
    requestId: input.requestId,
    principal: principalValue(input.principal, oauthPrincipalKind),
    upstream: { baseUrl: upstreamUrl(input.upstream)?.href ?? null },
    requestMethod: input.requestMethod,
    requestPath: input.requestPath,
    canonicalModelId: input.canonicalModelId,
    responseStatus: statusOf(input.status),
    responseHeaders: responseHeaders(input.headers),
  };
}
