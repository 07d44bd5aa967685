/** Reads the golden files and turns them into what the package takes. */

import { readFileSync } from 'node:fs';
import type {
  FilterOutput,
  Json,
  ObserveEvent,
  Principal,
  RequestContext,
  SlotKind,
  Upstream,
  UpstreamCandidate,
} from '../../src/types.ts';

/** Overrides of the default config, under the package's own names. */
export interface GoldenConfig {
  readonly cookieRedaction?: boolean;
  readonly shapeOriginPolicy?: 'selected-upstream-origin';
  readonly wireBounds?: {
    readonly outputBodyBytes?: number;
    readonly maxHeaders?: number;
    readonly maxHeaderValueBytes?: number;
    readonly reasonBytes?: number;
  };
}

/** The Rust host's error: which variant of the adapter's error it was, and the first 300 bytes of its text. */
export interface GoldenError {
  readonly kind: 'trap' | 'runtime' | 'unsupported_request' | 'upstream_mismatch' | 'invalid_url' | 'dropped';
  readonly text: string;
}

/** What came of a call. */
export type GoldenOutcome<Ok> = { readonly ok: Ok; readonly error?: undefined } | { readonly error: GoldenError };

/** A filter's verdict; the Rust crate tells the reasons without their ids and texts. */
export interface GoldenFilterOutput extends Pick<FilterOutput, 'keptUpstreamIds' | 'reason'> {
  readonly perCandidateReasons: readonly FilterOutput['perCandidateReasons'][number]['reason'][];
}

/** A shaped request; header values are latin1 code units. */
export interface GoldenShapedRequest {
  readonly url: string;
  readonly method: string;
  readonly headers: readonly [string, string][];
  readonly body: Uint8Array;
}

interface GoldenCallBase {
  readonly name: string;
  /** The guest's file name in test/plugins/wasm/, without its extension. */
  readonly plugin: string;
  readonly config: GoldenConfig;
}
interface GoldenRequestBase extends GoldenCallBase {
  readonly ctx: RequestContext;
  readonly principal: Principal;
}
/** A call of an adapter and what came of it. */
export type GoldenCall =
  | (GoldenRequestBase & {
      readonly hook: 'filter';
      readonly candidates: readonly UpstreamCandidate[];
      readonly expected: GoldenOutcome<GoldenFilterOutput>;
    })
  | (GoldenRequestBase & {
      readonly hook: 'shape';
      readonly upstream: Upstream;
      readonly expected: GoldenOutcome<GoldenShapedRequest>;
    })
  | (GoldenCallBase & {
      readonly hook: 'observe';
      readonly event: ObserveEvent;
      readonly expected: GoldenOutcome<null>;
    });

/** The Rust host's verdict on a module: `ok` or the variant of its error. */
export type GoldenVerdict =
  | 'ok'
  | {
      readonly error: 'ModuleRejected' | 'ModuleCompile' | 'InstantiateFailed' | 'ProbeFailed';
      readonly hook?: string;
      readonly text: string;
    };

/** A module, the kind of slot that it is meant for, and the verdicts. */
export interface GoldenModule {
  readonly name: string;
  readonly kind: SlotKind;
  readonly bytes: Uint8Array;
  readonly inspect: GoldenVerdict;
  /** With the on-demand allocator. */
  readonly admit: GoldenVerdict;
  readonly admitPooling: GoldenVerdict;
}

/** The names of the golden files. */
export const GOLDEN_FILES = ['calls', 'filter-answers', 'shape-answers', 'modules'] as const;

/** SHA-256 of each guest that a golden file was made with, by the guest's name. */
export function goldenPlugins(file: (typeof GOLDEN_FILES)[number]): Record<string, string> {
  return read(file).about.plugins as Record<string, string>;
}

/** Every call of a golden file. */
export function goldenCalls(file: 'calls' | 'filter-answers' | 'shape-answers'): GoldenCall[] {
  // A shaped body that equals the request's is written down as 'same'.
  return cases<GoldenCall>(file).map((call) =>
    call.hook === 'shape' && call.expected.error === undefined && (call.expected.ok.body as unknown) === 'same'
      ? { ...call, expected: { ok: { ...call.expected.ok, body: call.ctx.body } } }
      : call,
  );
}

/** Every module of the golden file. */
export function goldenModules(): GoldenModule[] {
  return cases<GoldenModule & { bytes: string }>('modules').map((module) => ({
    ...module,
    bytes: Buffer.from(module.bytes as string, 'base64'),
  }));
}

const U64_FIELDS: ReadonlySet<string> = new Set([
  'observedAtUnixSecs',
  ...['batchIndex', 'eventCount', 'totalBytes', 'durationMs'],
  ...['inputTokens', 'outputTokens', 'cacheCreationInputTokens', 'cacheReadInputTokens'],
]);

function cases<T>(file: string): T[] {
  return read(file).cases as T[];
}

function read(file: string): { about: { plugins: unknown }; cases: unknown[] } {
  const path = new URL(`golden/${file}.golden.json`, import.meta.url);
  return JSON.parse(readFileSync(path, 'utf8'), revive);
}

/**
 * Bodies and integers past 2^53 stand in the files as objects of their own. 2^53 itself stands there as a number, which
 * the package takes in claims alone: elsewhere it could have been 2^53 + 1.
 */
function revive(key: string, value: Json): Json | Uint8Array {
  if (value === 2 ** 53 && U64_FIELDS.has(key)) return BigInt(value);
  if (value === null || typeof value !== 'object') return value;
  if ('$bigint' in value) return BigInt(value.$bigint as string);
  if (!('base64' in value)) return value;
  const once = Buffer.from(value.base64 as string, 'base64');
  return Buffer.concat(new Array(Number(value.times ?? 1)).fill(once));
}
