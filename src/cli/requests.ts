/** The requests of `call` and `bench`: a sample, or one from a JSON file. */

import type { AsyncCallOptions } from '../adapters/adapter.ts';
import { WasmtimeFilterPlugin } from '../adapters/filter.ts';
import { WasmtimeObservabilityHook } from '../adapters/observe.ts';
import { WasmtimeUpstreamDialect } from '../adapters/shape.ts';
import { ModuleRejectedError } from '../errors.ts';
import type { WasmtimeRuntime } from '../runtime.ts';
import { SlotKey } from '../slot-key.ts';
import type {
  HookKind,
  ObserveEvent,
  Principal,
  RequestContext,
  SseEvent,
  TransformContext,
  TransformResponseInput,
  TransformSseEventInput,
  TransformSseEventOutput,
  Upstream,
  UpstreamCandidate,
} from '../types.ts';
import { UsageError } from './command.ts';

const MODEL = 'claude-3-haiku-20240307';
const BODY = `{"model":"${MODEL}","messages":[]}`;
const HEADERS = [['content-type', 'application/json']];
const principal = { id: 'sample-principal', kind: 'api_key', claims: {} };
const upstream = { kind: 'anthropic_direct', baseUrl: 'https://example.test' };
const context = {
  requestId: 'sample-1',
  method: 'POST',
  path: '/v1/messages',
  query: null,
  headers: HEADERS,
  body: BODY,
  canonicalModelId: MODEL,
};
const exchange = {
  requestId: 'sample-1',
  principal,
  upstream,
  requestMethod: 'POST',
  requestPath: '/v1/messages',
  canonicalModelId: MODEL,
  status: 200,
};
const candidate = (digit: number) => ({
  upstreamId: `00000000-0000-4000-8000-00000000000${digit}`,
  name: `upstream-${digit}`,
  kind: 'anthropic_api_key',
  observedAtUnixSecs: 1_700_000_000,
  predictedCacheReadTokens: digit * 1_000,
});

/** A request for each hook, in the form of the JSON file. */
export const SAMPLES: Readonly<Record<HookKind, object>> = {
  filter: { context, principal, candidates: [1, 2, 3].map(candidate) },
  shape: { context, upstream, principal },
  observe: { type: 'request_started', requestId: 'sample-1', downstreamUserAgent: 'cc-lb-plugin/1.0' },
  transform_response: { ...exchange, headers: HEADERS, body: '{"content":[]}' },
  transform_sse_event: {
    ...exchange,
    headers: [['content-type', 'text/event-stream']],
    event: { event: 'content_block_start', data: '{"type":"content_block_start"}' },
  },
};

/** A registered plugin with a request that can be sent repeatedly. */
export interface PreparedRequest {
  /** Calls the hook on this thread. */
  inline(): unknown;
  /** Calls the hook on the thread that `options.where` selects. */
  anywhere(options: AsyncCallOptions): Promise<unknown>;
}

/**
 * Registers the plugin and converts `json`, which has the form of the hook's sample, to a request.
 * @throws UsageError when `json` is not an object; and the errors of registration
 */
export function prepare(runtime: WasmtimeRuntime, bytes: Uint8Array, hook: HookKind, json: unknown): PreparedRequest {
  if (typeof json !== 'object' || json === null) throw new UsageError('the request must be a JSON object');
  const request = withBytes(json);
  const key = SlotKey.global('plugin');
  switch (hook) {
    case 'filter': {
      const filter = new WasmtimeFilterPlugin(runtime, runtime.registerFilter(key, 'plugin', bytes));
      type Arguments = { context: RequestContext; principal: Principal; candidates: UpstreamCandidate[] };
      const { context, principal, candidates } = request as Arguments;
      return {
        inline: () => filter.filter(context, principal, candidates),
        anywhere: (options) => filter.filterAsync(context, principal, candidates, options),
      };
    }
    case 'observe': {
      const observer = new WasmtimeObservabilityHook(runtime, runtime.registerObserve(key, 'plugin', bytes));
      const event = request as ObserveEvent;
      return {
        inline: () => thrown(observer.observe(event)),
        anywhere: async (options) => thrown(await observer.observeAsync(event, options)),
      };
    }
    default: {
      // The events of a sequence share an instance, like those of a stream.
      const events = hook === 'transform_sse_event' ? (request as { events?: unknown }).events : undefined;
      const slot = runtime.registerShape(key, 'plugin', bytes, events === undefined ? {} : { instance: 'stream' });
      // The adapter returns `unchanged` for a transform that is not declared, which would look like an answer of the
      // plugin.
      if (slot.current.metadata.hooks[hook] === undefined) {
        throw new ModuleRejectedError(`hooks.${hook}: not declared`, { plugin: slot.current.metadata.name });
      }
      const dialect = new WasmtimeUpstreamDialect(runtime, slot);
      return events === undefined ? prepareDialect(dialect, hook, request) : prepareStream(dialect, request, events);
    }
  }
}

function prepareStream(dialect: WasmtimeUpstreamDialect, request: object, events: unknown): PreparedRequest {
  if (!Array.isArray(events) || !events.every(isObject)) throw new UsageError('events: expected a list of events');
  const inline = () => {
    throw new UsageError('a sequence of events has no synchronous form');
  };
  return {
    inline,
    async anywhere(options) {
      const stream = dialect.openSseStream(request as TransformContext);
      try {
        const answers: TransformSseEventOutput[] = [];
        for (const event of events) answers.push(await stream.transform(withBytes(event) as SseEvent, options));
        return answers;
      } finally {
        stream.close();
      }
    },
  };
}

function prepareDialect(
  dialect: WasmtimeUpstreamDialect,
  hook: 'shape' | 'transform_response' | 'transform_sse_event',
  request: object,
): PreparedRequest {
  switch (hook) {
    case 'shape': {
      type Arguments = { context: RequestContext; upstream: Upstream; principal: Principal };
      const { context, upstream, principal } = request as Arguments;
      return {
        inline: () => dialect.shape(context, upstream, principal),
        anywhere: (options) => dialect.shapeAsync(context, upstream, principal, options),
      };
    }
    case 'transform_response': {
      const input = request as TransformResponseInput;
      return {
        inline: () => dialect.transformResponse(input),
        anywhere: (options) => dialect.transformResponseAsync(input, options),
      };
    }
    case 'transform_sse_event': {
      const input = request as TransformSseEventInput;
      return {
        inline: () => dialect.transformSseEvent(input),
        anywhere: (options) => dialect.transformSseEventAsync(input, options),
      };
    }
  }
}

function thrown(error: Error | undefined): undefined {
  if (error !== undefined) throw error;
}

/** `body` and `data` are text in JSON and bytes in a call; `bodyBase64` and `dataBase64` hold bytes in base64. */
function withBytes(value: object): object {
  const entries = Object.entries(value).map(([name, field]): [string, unknown] => {
    if ((name === 'body' || name === 'data') && typeof field === 'string') return [name, Buffer.from(field)];
    if ((name === 'bodyBase64' || name === 'dataBase64') && typeof field === 'string') {
      return [name.slice(0, 4), Buffer.from(field, 'base64')];
    }
    if (name === 'context' || name === 'event') return [name, isObject(field) ? withBytes(field) : field];
    return [name, field];
  });
  return Object.fromEntries(entries);
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}
