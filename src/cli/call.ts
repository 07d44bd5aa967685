/** `cc-lb-plugin call`: calls a hook once and prints its decoded answer. */
import { hookRequest } from '../hook-request.ts';
import { printable } from '../printable.ts';
import { WasmtimeRuntime } from '../runtime.ts';
import type {
  FilterOutput,
  HookKind,
  ShapedRequest,
  TransformResponseOutput,
  TransformSseEventOutput,
} from '../types.ts';
import { type Command, calledHookOf, configOf, countOf, OK, OPTIONS, readBytes } from './command.ts';
import { columns, json, printableLines, textOfBytes } from './output.ts';
import { requestOf, SAMPLES } from './requests.ts';

export const call: Command = {
  summary: 'call a hook with a request from a JSON file, or with a sample',
  usage: [
    'call <file.wasm> --hook <hook> [--request <file.json>] [--config <config>] [--deadline <ms>] [--json]',
    'call --hook <hook> --print-sample',
  ],
  options: {
    hook: OPTIONS.hook,
    request: OPTIONS.request,
    config: OPTIONS.config,
    deadline: OPTIONS.deadline,
    'print-sample': { type: 'boolean', help: 'print the sample of the hook and call nothing' },
    json: OPTIONS.json,
  },
  withoutFile: 'print-sample',
  async run(values, io) {
    const hook = calledHookOf(values);
    if (values.flags['print-sample']) {
      io.out(json(SAMPLES[hook]));
      return OK;
    }
    const request = requestOf(values, hook);
    const runtime = new WasmtimeRuntime(configOf(values));
    try {
      const prepared = await hookRequest(runtime, readBytes(values.file), hook, request);
      const answer = await prepared.anywhere({ deadlineMs: countOf(values, 'deadline', 1) });
      io.out(values.flags.json ? json(answer ?? null) : report(hook, answer));
      return OK;
    } finally {
      runtime.close();
    }
  },
};

function report(hook: HookKind, answer: unknown): string {
  switch (hook) {
    case 'filter':
      return filterReport(answer as FilterOutput);
    case 'shape':
      return shapeReport(answer as ShapedRequest);
    case 'observe':
      return 'observed';
    case 'transform_response':
      return responseReport(answer as TransformResponseOutput);
    case 'transform_sse_event':
      return [answer]
        .flat()
        .map((event) => eventReport(event as TransformSseEventOutput))
        .join('\n\n');
  }
}

function filterReport({ keptUpstreamIds, perCandidateReasons }: FilterOutput): string {
  const rows = [
    ...keptUpstreamIds.map((id) => [id, 'kept', '']),
    ...perCandidateReasons.map(({ upstreamId, reason, text }) => [upstreamId, reason, text]),
  ];
  return rows.length === 0 ? 'the answer names no candidate' : columns([['upstream', 'verdict', 'reason'], ...rows]);
}

function shapeReport({ method, url, headers, body }: ShapedRequest): string {
  return message(`${method} ${url.href}`, headers, body);
}

function responseReport(answer: TransformResponseOutput): string {
  if (answer.kind === 'unchanged') return 'unchanged';
  const { status, headers, body } = answer;
  const nothing = status === undefined && headers === undefined && body === undefined;
  return message(
    `replaced${nothing ? ' with no change' : ''}${status === undefined ? '' : `: ${status}`}`,
    headers,
    body,
  );
}

function eventReport(answer: TransformSseEventOutput): string {
  if (answer.kind !== 'replace') return answer.kind === 'drop' ? 'dropped' : 'unchanged';
  const events = answer.events.map(({ event, data }) => `event: ${printable(event)}\ndata: ${printableBytes(data)}`);
  return [`replaced by ${events.length}`, ...events].join('\n\n');
}

function message(first: string, headers: readonly [string, string][] = [], body?: Uint8Array): string {
  const head = [first, ...headers.map(([name, value]) => `${name}: ${value}`)].map(printable).join('\n');
  return body === undefined ? head : `${head}\n\n${printableBytes(body)}`;
}

function printableBytes(bytes: Uint8Array): string {
  const text = textOfBytes(bytes);
  return text === null ? `${bytes.length} bytes that are not UTF-8 text` : printableLines(text);
}
