/** Calls of a hook with a request in the form of JSON, for the authors of plugins. */
import { WasmtimeFilterPlugin } from './adapters/filter.ts';
import { WasmtimeObservabilityHook } from './adapters/observe.ts';
import { WasmtimeUpstreamDialect } from './adapters/shape.ts';
import type { AsyncCallOptions } from './call-options.ts';
import { InvalidArgumentError, ModuleRejectedError } from './errors.ts';
import type { WasmtimeRuntime } from './runtime.ts';
import { SlotKey } from './slot-key.ts';
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
} from './types.ts';
import { checkObject } from './validate.ts';
import type { SlotOptions } from './versions.ts';

/** A registered plugin with a request that can be sent repeatedly. */
export interface HookRequest {
  /** Calls the hook on this thread. */
  inline(): unknown;
  /** Calls the hook on the thread that `options.where` selects. */
  anywhere(options: AsyncCallOptions): Promise<unknown>;
}

/**
 * Registers the plugin and converts `json`, an object with the arguments of the hook's adapter by name, to a request.
 * Bodies and data are text, bytes, or base64 in fields named `bodyBase64` and `dataBase64`.
 * Rejects with InvalidArgumentError if `json` has another form, and with the errors of registration.
 */
export async function hookRequest(
  runtime: WasmtimeRuntime,
  bytes: Uint8Array,
  hook: HookKind,
  json: unknown,
): Promise<HookRequest> {
  checkObject(json, 'request');
  const request = withBytes(json);
  const key = SlotKey.global('plugin');
  switch (hook) {
    case 'filter': {
      const filter = new WasmtimeFilterPlugin(runtime, await runtime.registerFilterAsync(key, 'plugin', bytes));
      type Arguments = { context: RequestContext; principal: Principal; candidates: UpstreamCandidate[] };
      const { context, principal, candidates } = request as Arguments;
      checkObject(context, 'request.context');
      return {
        inline: () => filter.filter(context, principal, candidates),
        anywhere: (options) => filter.filterAsync(context, principal, candidates, options),
      };
    }
    case 'observe': {
      const observer = new WasmtimeObservabilityHook(runtime, await runtime.registerObserveAsync(key, 'plugin', bytes));
      const event = request as ObserveEvent;
      return {
        inline: () => thrown(observer.observe(event)),
        anywhere: async (options) => thrown(await observer.observeAsync(event, options)),
      };
    }
    default: {
      // The events of a sequence share an instance, like those of a stream.
      const events = hook === 'transform_sse_event' ? (request as { events?: unknown }).events : undefined;
      const options: SlotOptions = events === undefined ? {} : { instance: 'stream' };
      const slot = await runtime.registerShapeAsync(key, 'plugin', bytes, options);
      // The adapter returns `unchanged` for a transform that is not declared, which would look like an answer of the
      // plugin.
      if (slot.current.metadata.hooks[hook] === undefined) {
        throw new ModuleRejectedError(`hooks.${hook}: not declared`, { plugin: slot.current.metadata.name });
      }
      const dialect = new WasmtimeUpstreamDialect(runtime, slot);
      return events === undefined ? dialectRequest(dialect, hook, request) : streamRequest(dialect, request, events);
    }
  }
}

function streamRequest(dialect: WasmtimeUpstreamDialect, request: object, events: unknown): HookRequest {
  if (!Array.isArray(events) || !events.every(isObject)) {
    throw new InvalidArgumentError('request.events', 'expected a list of events');
  }
  const inline = () => {
    throw new InvalidArgumentError('request.events', 'a sequence of events has no synchronous form');
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

function dialectRequest(
  dialect: WasmtimeUpstreamDialect,
  hook: 'shape' | 'transform_response' | 'transform_sse_event',
  request: object,
): HookRequest {
  switch (hook) {
    case 'shape': {
      type Arguments = { context: RequestContext; upstream: Upstream; principal: Principal };
      const { context, upstream, principal } = request as Arguments;
      checkObject(context, 'request.context');
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
