/** Builds plugins for single tests: well-formed by default, with the parts that a test replaces. */
import type { HookKind } from '../../src/types.ts';
import { filterResponse } from '../../src/wire/messages/filter.ts';
import { shapeResponse } from '../../src/wire/messages/shape.ts';
import { transformResponseResult, transformSseEventResult } from '../../src/wire/messages/transform.ts';
import { SCHEMAS } from '../../src/wire/schemas.ts';
import { encodeToBytes } from './encode.ts';
import { append, assemble, customSection } from './wat.ts';

const ANSWERS: Readonly<Record<HookKind, Uint8Array>> = {
  filter: encodeToBytes(filterResponse, { results: [] }),
  shape: encodeToBytes(shapeResponse, {
    url: 'https://guest.test/',
    method: 'POST',
    headers: [],
    body: Buffer.from('shaped'),
  }),
  observe: new Uint8Array(0),
  transform_response: encodeToBytes(transformResponseResult, { kind: 'unchanged' }),
  transform_sse_event: encodeToBytes(transformSseEventResult, { kind: 'unchanged' }),
};

/** The parts of a guest that a test replaces. Every omitted part is well-formed. */
export interface GuestParts {
  /** The declared hooks. */
  readonly hooks?: readonly HookKind[];
  /** The memory's limits in pages. */
  readonly memory?: string;
  /** The body of `cc_lb_alloc(size, align)`. */
  readonly alloc?: string;
  /** The body of every hook or of single hooks, `(ptr, len) -> i64`; `$answer` expands to a valid answer. */
  readonly hook?: string | { readonly [Hook in HookKind]?: string };
  /** Additional fields of the module, placed before the generated ones. */
  readonly fields?: string;
  /** Function types that differ from the ABI; the bodies must match them. */
  readonly types?: { readonly alloc?: string; readonly free?: string; readonly hook?: string };
  /** Metadata fields to replace; undefined removes one. */
  readonly metadata?: Readonly<Record<string, unknown>>;
  /** Fields of each hook's metadata to replace. */
  readonly hookMetadata?: Readonly<Record<string, unknown>>;
  /** Custom sections to replace, by name; null removes one. */
  readonly sections?: Readonly<Record<string, Uint8Array | null>>;
  /** The wire schema whose fingerprint each hook carries, as an index from the oldest. */
  readonly schema?: number;
}

/** The bytes of a plugin. */
export function guest(parts: GuestParts = {}): Uint8Array {
  return append(assemble(guestText(parts)), ...guestSections(parts));
}

/** The text of the plugin's module, without its custom sections. */
export function guestText(parts: GuestParts = {}): string {
  const { hooks = ['filter'], memory = '2', alloc = 'i32.const 32768', fields = '', types = {} } = parts;
  const data: string[] = [];
  const functions = hooks.map((hook, index) => {
    const answer = answerAt(1024 + index * 1024, ANSWERS[hook]);
    data.push(answer.fields);
    const own = typeof parts.hook === 'object' ? parts.hook[hook] : parts.hook;
    const body = (own ?? '$answer').replaceAll('$answer', hook === 'observe' ? 'i64.const 0' : answer.hook);
    return `(func (export "cc_lb_${hook}") ${types.hook ?? '(param i32 i32) (result i64)'} ${body})`;
  });
  return `(module ${fields}
    (memory (export "memory") ${memory})
    (func (export "cc_lb_alloc") ${types.alloc ?? '(param i32 i32) (result i32)'} ${alloc})
    (func (export "cc_lb_free") ${types.free ?? '(param i32 i32 i32)'})
    ${functions.join('\n')}
    ${data.join('\n')})`;
}

/** Returns the parts of a guest with `answer` in its memory at `address`: the data, and a hook that returns the answer. */
export function answerAt(address: number, answer: Uint8Array): { readonly fields: string; readonly hook: string } {
  const text = Array.from(answer, (byte) => `\\${byte.toString(16).padStart(2, '0')}`).join('');
  const packed = (BigInt(address) << 32n) | BigInt(answer.length);
  return { fields: `(data (i32.const ${address}) "${text}")`, hook: `i64.const ${packed}` };
}

/** The custom sections of the plugin. */
export function guestSections(parts: GuestParts = {}): Uint8Array[] {
  const { hooks = ['filter'] } = parts;
  const usual: Record<string, Uint8Array> = { 'cc_lb.plugin.v1': metadataSection(parts) };
  for (const hook of hooks) usual[`cc_lb.schema.${hook}.v1`] = fingerprint(hook, parts.schema ?? 0);
  const sections = { ...usual, ...parts.sections };
  return Object.entries(sections).flatMap(([name, data]) => (data === null ? [] : [customSection(name, data)]));
}

/** The bytes of `cc_lb.plugin.v1`. */
export function metadataSection(parts: GuestParts = {}): Uint8Array {
  const { hooks = ['filter'] } = parts;
  const described = hooks.map((hook) => {
    const mode = hook.startsWith('transform_') ? { mode: 'active' } : {};
    return [hook, { wire_version: 1, description: 'd', usage: 'u', ...mode, ...parts.hookMetadata }];
  });
  const metadata = {
    name: 'guest',
    version: '1.0.0',
    description: 'd',
    usage: 'u',
    hooks: Object.fromEntries(described),
  };
  return Buffer.from(JSON.stringify({ ...metadata, ...parts.metadata }));
}

/** The 32-byte fingerprint of a hook's wire schema; `schema` is an index from the oldest. */
export function fingerprint(hook: HookKind, schema = 0): Uint8Array {
  const schemas = SCHEMAS[hook];
  return Buffer.from(schemas[Math.min(schema, schemas.length - 1)]!.fingerprint, 'hex');
}

/**
 * Returns a hook body that answers probes and runs `body` in every later call. Requests are distinguished by their
 * length.
 */
export function misbehavesAfterProbe(body: string): string {
  return `(if (result i64) (i32.lt_u (local.get 1) (i32.const ${LONGER_THAN_PROBES})) (then $answer) (else ${body}))`;
}

/** The shortest request in bytes that is longer than every probe. */
export const LONGER_THAN_PROBES = 2048;
