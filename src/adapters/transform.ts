/** The transforms of a shape plugin: of a complete response, and of one event of a stream. */
import type { CallOptions } from '../call-options.ts';
import type { HotEngineConfig } from '../config.ts';
import { encodeMessage } from '../dispatch/encode.ts';
import type { CallScratch } from '../dispatch/scratch.ts';
import { type ErrorContext, GuestTrapError, ResponseTransformError } from '../errors.ts';
import type { NativeStream } from '../native/addon.ts';
import { EVENT_LIMITS, headerLimits } from '../policy/bounds.ts';
import { isEventType, isFinalStatus } from '../policy/chain-rules.ts';
import { checkStatus } from '../policy/decision.ts';
import { transformedHeaders } from '../policy/headers.ts';
import { InvalidAnswerError } from '../policy/invalid-answer.ts';
import { quoted } from '../printable.ts';
import { isLongEventType, MAX_TYPE_UNITS } from '../sse/event.ts';
import type {
  ReplacedResponse,
  SseEvent,
  TransformResponseInput,
  TransformResponseOutput,
  TransformSseEventOutput,
} from '../types.ts';
import { checkBytes, checkObject } from '../validate.ts';
import type { Version } from '../versions.ts';
import { decodeAnswer, type EncodedBytes } from '../wire/decode.ts';
import type { TransformResponseRequest, TransformSseEventRequest } from '../wire/messages/transform.ts';
import type { SchemaByHook } from '../wire/schemas.ts';
import { AdapterCall } from './adapter-call.ts';
import { type Exchange, exchangeOf } from './exchange.ts';
import type { WrapError } from './hook-error.ts';
import type { OpenStream } from './stream.ts';
import { bodyOf } from './values.ts';

/** Creates the error of a failed transform. */
export const toTransformError: WrapError = (fault, context) =>
  new ResponseTransformError(
    fault instanceof GuestTrapError ? 'trap' : 'runtime',
    `transform plugin failed: ${fault.message}`,
    context,
  );

/** Throws a ResponseTransformError if the body of the response is encoded, because plugins read and write plain bytes. */
export function checkDecoded({ encoding }: Exchange, context: ErrorContext): void {
  if (encoding === null) return;
  throw new ResponseTransformError('runtime', `the response is encoded (${quoted(encoding)})`, context);
}

/** A call of `transform_response`, which the version declares in active mode. */
export class ResponseCall extends AdapterCall<TransformResponseOutput> {
  readonly wrapError = toTransformError;
  private readonly isEncoded: boolean;
  private readonly schema: SchemaByHook['transform_response'];
  private readonly request: TransformResponseRequest;
  private readonly config: HotEngineConfig;
  private readonly input: TransformResponseInput;
  private readonly options: CallOptions | undefined;

  constructor(
    version: Version<'shape'>,
    config: HotEngineConfig,
    input: TransformResponseInput,
    options: CallOptions | undefined,
  ) {
    const schema = version.schemas.transform_response!;
    const exchange = exchangeOf(input);
    const body = bodyOf(input.body);
    super('transform_response', version, options, {
      principal: exchange.value.principal.id,
      maxAnswerBytes: config.wireBounds.outputBodyBytes,
      bodyBytes: body.length,
    });
    if (this.isEnforced) checkDecoded(exchange, this.context());
    this.isEncoded = exchange.encoding !== null;
    this.schema = schema;
    this.request = { exchange: exchange.value, body };
    this.config = config;
    this.input = input;
    this.options = options;
  }

  forVersion(version: Version<'shape'>): ResponseCall | null {
    if (!version.schemas.transform_response || this.isEncoded) return null;
    return new ResponseCall(version, this.config, this.input, this.options);
  }

  unenforced(): TransformResponseOutput {
    return { kind: 'unchanged' };
  }

  encode(scratch: CallScratch): void {
    encodeMessage(this.schema.request, this.request, scratch);
  }

  decode(encoded: EncodedBytes): TransformResponseOutput {
    const { wireBounds } = this.config;
    const memory = this.bodyMemory(this.options);
    const answer = decodeAnswer(this.schema.response, encoded, headerLimits(wireBounds), memory);
    if (answer.kind === 'unchanged') return { kind: 'unchanged' };
    const { status, headers, body } = answer;
    const output: { -readonly [Part in keyof ReplacedResponse]: ReplacedResponse[Part] } = { kind: 'replace' };
    if (status !== null) {
      checkStatus(status);
      output.status = status;
    }
    if (headers !== null) output.headers = transformedHeaders(headers, wireBounds);
    if (body !== null) output.body = body;
    return output;
  }

  override breaksRule(answer: TransformResponseOutput): boolean {
    return answer.kind === 'replace' && answer.status !== undefined && !isFinalStatus(answer.status);
  }
}

/** A call of `transform_sse_event`, which the version declares in active mode. */
export class SseEventCall extends AdapterCall<TransformSseEventOutput> {
  readonly wrapError = toTransformError;
  override readonly stream: NativeStream | null;
  private readonly schema: SchemaByHook['transform_sse_event'];
  private readonly request: TransformSseEventRequest;
  private readonly exchange: Exchange;
  private readonly config: HotEngineConfig;
  private readonly options: CallOptions | undefined;

  constructor(
    version: Version<'shape'>,
    config: HotEngineConfig,
    exchange: Exchange,
    event: SseEvent,
    options: CallOptions | undefined,
    stream: OpenStream | null = null,
  ) {
    checkObject(event, 'event');
    checkBytes(event.data, 'event.data');
    super('transform_sse_event', version, options, {
      target: stream?.target,
      principal: exchange.value.principal.id,
      maxAnswerBytes: config.wireBounds.outputBodyBytes,
      bodyBytes: event.data.length,
    });
    if (this.isEnforced) checkDecoded(exchange, this.context());
    this.stream = stream?.handle ?? null;
    this.schema = version.schemas.transform_sse_event!;
    this.request = { exchange: exchange.value, event };
    this.exchange = exchange;
    this.config = config;
    this.options = options;
  }

  forVersion(version: Version<'shape'>): SseEventCall | null {
    if (!version.schemas.transform_sse_event || this.exchange.encoding !== null) return null;
    return new SseEventCall(version, this.config, this.exchange, this.request.event, this.options);
  }

  unenforced(): TransformSseEventOutput {
    return { kind: 'unchanged' };
  }

  encode(scratch: CallScratch): void {
    encodeMessage(this.schema.request, this.request, scratch, this.exchange.prefix);
  }

  decode(encoded: EncodedBytes): TransformSseEventOutput {
    const answer = decodeAnswer(this.schema.response, encoded, EVENT_LIMITS);
    if (answer.kind !== 'replace') return { kind: answer.kind };
    if (answer.events.some(({ event }) => isLongEventType(event))) {
      throw new InvalidAnswerError('event_type', `an event type has more than ${MAX_TYPE_UNITS} characters`);
    }
    return { kind: 'replace', events: answer.events };
  }

  override breaksRule(answer: TransformSseEventOutput): boolean {
    return answer.kind === 'replace' && !answer.events.every(({ event }) => isEventType(event));
  }
}
