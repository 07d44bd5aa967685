/** Reads the golden files and converts them to the types of the package. */

import { readFileSync } from 'node:fs';
import type {
  FilterOutput,
  HookKind,
  Json,
  ObserveEvent,
  Principal,
  RequestContext,
  SlotKind,
  Upstream,
  UpstreamCandidate,
} from '../../src/types.ts';

/** Fields of the config that differ from the default, by their names in this package. */
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

/** An error of the Rust host: the variant of the adapter's error, and the first 300 bytes of its text. */
export interface GoldenError {
  readonly kind: 'trap' | 'runtime' | 'unsupported_request' | 'upstream_mismatch' | 'invalid_url' | 'dropped';
  readonly text: string;
}

/** The result of a call. */
export type GoldenOutcome<Ok> = { readonly ok: Ok; readonly error?: undefined } | { readonly error: GoldenError };

/** A filter's verdict; the Rust crate reports only the reasons, without ids and texts. */
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
/** A call of an adapter and its result. */
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

/** The verdict of the Rust host on a module: `ok` or the variant of its error. */
export type GoldenVerdict =
  | 'ok'
  | {
      readonly error: 'ModuleRejected' | 'ModuleCompile' | 'InstantiateFailed' | 'ProbeFailed';
      readonly hook?: string;
      readonly text: string;
    };

/** A module, the kind of its slot, and the verdicts. */
export interface GoldenModule {
  readonly name: string;
  readonly kind: SlotKind;
  readonly bytes: Uint8Array;
  readonly inspect: GoldenVerdict;
  /** The verdict with the on-demand allocator. */
  readonly admit: GoldenVerdict;
  readonly admitPooling: GoldenVerdict;
}

/** The names of the golden files. */
export const GOLDEN_FILES = ['calls', 'filter-answers', 'shape-answers', 'modules', 'transforms'] as const;

/** Returns the SHA-256 hash of each guest that a golden file was made with, by the guest's name. */
export function goldenPlugins(file: (typeof GOLDEN_FILES)[number]): Record<string, string> {
  return read(file).about.plugins as Record<string, string>;
}

/** Returns every call of a golden file. */
export function goldenCalls(file: 'calls' | 'filter-answers' | 'shape-answers'): GoldenCall[] {
  // 'same' represents a shaped body that equals the body of the request.
  return cases<GoldenCall>(file).map((call) =>
    call.hook === 'shape' && call.expected.error === undefined && (call.expected.ok.body as unknown) === 'same'
      ? { ...call, expected: { ok: { ...call.expected.ok, body: call.ctx.body } } }
      : call,
  );
}

/** Returns every module of the golden file. */
export function goldenModules(): GoldenModule[] {
  return cases<GoldenModule & { bytes: string }>('modules').map((module) => ({
    ...module,
    bytes: Buffer.from(module.bytes as string, 'base64'),
  }));
}

/** Every plugin of the golden file for the samples of transforms. */
export function goldenTransforms(): { name: string; bytes: Uint8Array; admit: 'ok' | { hook: HookKind } }[] {
  return cases<ReturnType<typeof goldenTransforms>[number] & { bytes: string }>('transforms').map((module) => ({
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
 * Converts the objects that represent bodies and integers past 2^53. 2^53 itself is a number in the files, which the
 * package accepts only in claims: in other fields it could be a rounded 2^53 + 1.
 */
function revive(key: string, value: Json): Json | Uint8Array {
  if (value === 2 ** 53 && U64_FIELDS.has(key)) return BigInt(value);
  if (value === null || typeof value !== 'object') return value;
  if ('$bigint' in value) return BigInt(value.$bigint as string);
  if (!('base64' in value)) return value;
  const once = Buffer.from(value.base64 as string, 'base64');
  return Buffer.concat(new Array(Number(value.times ?? 1)).fill(once));
}
