/** Finds the problems of a module from its facts, without running it. */

import { defaultHotEngineConfig } from '../config.ts';
import { InvalidArgumentError } from '../errors.ts';
import { type NativeModuleFacts, native } from '../native/addon.ts';
import { quoted } from '../printable.ts';
import { HOOK_KINDS, type HookKind } from '../types.ts';
import { checkBytes } from '../validate.ts';
import { explainFingerprint, findSchema, type SchemaByHook } from '../wire/schemas.ts';
import { type MetadataReading, modeProblems, type PluginMetadata, readMetadata } from './metadata.ts';

const METADATA_SECTION = 'cc_lb.plugin.v1';
/** Longest metadata: reading it blocks the event loop. The metadata of PDK plugins has a few hundred bytes. */
const MAX_METADATA_BYTES = 64 * 1024;
/** Longest message of the parser, which may contain names of the module. */
const MAX_PARSER_UNITS = 256;
const PLAIN_NAME = /^[\w.]{1,80}$/;
const SCHEMA_PREFIX = 'cc_lb.schema.';
const FINGERPRINT_BYTES = 32;
const WIRE_VERSION = 1;
/** The use of each hook, for messages. Transforms belong to a shape slot, which does not require them. */
const PURPOSES: Readonly<Record<HookKind, string>> = {
  filter: 'for a filter slot',
  shape: 'for a shape slot',
  observe: 'for an observe slot',
  transform_response: 'to transform responses',
  transform_sse_event: 'to transform events',
};
/** Part of every content hash, so that modules admitted under earlier rules are admitted again after a change. */
export const POLICY_VERSION = 1;

/** The facts, metadata and problems of a module. */
export interface ModuleInspection {
  /** What the module contains: imports, exports, sections, memories, sizes. */
  readonly facts: NativeModuleFacts;
  /** Null if the module has no readable metadata. */
  readonly metadata: PluginMetadata | null;
  /** The wire version of each declared hook. */
  readonly hookVersions: Readonly<Partial<Record<HookKind, number>>>;
  /** The fingerprint of each declared hook that has one, in 64 lower-case hex digits. */
  readonly hookFingerprints: Readonly<Partial<Record<HookKind, string>>>;
  /** In the order of admission's checks; admission throws the first. */
  readonly problems: readonly string[];
}

/** An inspection with the schemas that the fingerprints select. */
export interface JudgedModule extends Pick<ModuleInspection, 'facts' | 'metadata' | 'problems'> {
  readonly schemas: { [Hook in HookKind]?: SchemaByHook[Hook] };
}

/**
 * Reads a module and lists every problem with it. Nothing runs, and an invalid module does not throw. With a `kind`, a
 * module that does not declare that hook has an additional problem. Throws an InvalidArgumentError for arguments of the
 * wrong type.
 *
 * @example
 * ```js
 * import { inspectWasm } from 'cc-lb-runtime-wasmtime';
 *
 * const empty = Buffer.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
 * const { facts, problems } = inspectWasm(empty);
 * console.log(facts.size, problems[0]); // → 8 section cc_lb.plugin.v1: missing, expected the plugin's metadata
 * ```
 */
export function inspectWasm(bytes: Uint8Array, kind?: HookKind): ModuleInspection {
  checkBytes(bytes, 'bytes');
  checkKind(kind);
  const { facts } = new native.NativeSource(bytes).inspect(
    POLICY_VERSION,
    0,
    defaultHotEngineConfig().maxModuleEntries,
  );
  const { metadata, problems } = judge(facts, kind);
  return { facts, metadata, ...hookFacts(facts, metadata), problems };
}

/** The wire versions and fingerprints of the hooks that the metadata declares. */
export function hookFacts(
  facts: NativeModuleFacts,
  metadata: PluginMetadata | null,
): Pick<ModuleInspection, 'hookVersions' | 'hookFingerprints'> {
  const hookVersions: Partial<Record<HookKind, number>> = {};
  const hookFingerprints: Partial<Record<HookKind, string>> = {};
  for (const hook of HOOK_KINDS) {
    const declared = metadata?.hooks[hook];
    if (declared === undefined) continue;
    hookVersions[hook] = declared.wireVersion;
    const section = lastSection(facts, schemaSection(hook));
    if (section?.length === FINGERPRINT_BYTES) hookFingerprints[hook] = Buffer.from(section).toString('hex');
  }
  return { hookVersions, hookFingerprints };
}

function schemaSection(hook: HookKind): string {
  return `${SCHEMA_PREFIX}${hook}.v${WIRE_VERSION}`;
}

/** Throws an InvalidArgumentError for a kind that is not a hook. */
export function checkKind(kind: unknown): asserts kind is HookKind | undefined {
  if (kind !== undefined && !(HOOK_KINDS as readonly unknown[]).includes(kind)) {
    throw new InvalidArgumentError('kind', `expected one of ${HOOK_KINDS.join(', ')}`);
  }
}

/** Checks the facts of a module against the plugin contract. */
export function judge(facts: NativeModuleFacts, kind?: HookKind): JudgedModule {
  const problems = fileProblems(facts);
  const section = lastSection(facts, METADATA_SECTION);
  if (section === undefined) {
    problems.push(`section ${METADATA_SECTION}: missing, expected the plugin's metadata`);
    return { facts, metadata: null, problems: [...problems, ...exportProblems(facts)], schemas: {} };
  }
  if (section === null || section.length > MAX_METADATA_BYTES) {
    problems.push(`section ${METADATA_SECTION}: larger than 64 KiB`);
    return { facts, metadata: null, problems: [...problems, ...exportProblems(facts)], schemas: {} };
  }
  const reading = readMetadata(section);
  problems.push(...reading.problems.map((problem) => `section ${METADATA_SECTION}: ${problem}`));
  if (kind !== undefined && reading.metadata !== null && reading.metadata.hooks[kind] === undefined) {
    problems.push(`section ${METADATA_SECTION}: hooks.${kind}: not declared, expected ${PURPOSES[kind]}`);
  }
  problems.push(...exportProblems(facts));
  const schemas = reading.metadata === null ? {} : hookProblems(facts, reading, problems);
  return { facts, metadata: reading.metadata, problems, schemas };
}

/** Returns the problems of sections and imports in file order. */
function fileProblems(facts: NativeModuleFacts): string[] {
  const found: { at: number; problem: string }[] = [];
  if (facts.encoding === 'component') return ['the bytes are a component, expected a core module'];
  if (facts.importCount > 0) {
    const first = facts.imports[0];
    const name =
      first === undefined ? '' : `, the first is ${shownName(`${first.module}.${first.name}`)} (${first.kind})`;
    const problem = `imports: a plugin may import nothing, found ${facts.importCount}${name}`;
    found.push({ at: facts.importsOffset ?? 0, problem });
  }
  for (const { name, offset, size } of facts.sections) {
    if (name.startsWith(SCHEMA_PREFIX) && size !== FINGERPRINT_BYTES) {
      found.push({
        at: offset,
        problem: `section ${shownName(name)}: found ${size} bytes, expected ${FINGERPRINT_BYTES}`,
      });
    }
  }
  found.sort((a, b) => a.at - b.at);
  const problems = found.map(({ problem }) => problem);
  if (facts.sectionsUnlisted > 0) problems.push(`sections: ${facts.sectionsUnlisted} cc_lb sections beyond the limit`);
  if (facts.parseError !== null) {
    // The parser's message has line breaks between bytes.
    const message = facts.parseError.message.replace(/[\s\p{Cc}]+/gu, ' ').slice(0, MAX_PARSER_UNITS);
    problems.push(`not a wasm module: ${message} (at byte ${facts.parseError.offset})`);
  }
  return problems;
}

/** Returns a name of the module for a message: quoted and truncated unless it is short and plain. */
function shownName(name: string): string {
  return PLAIN_NAME.test(name) ? name : quoted(name);
}

function exportProblems(facts: NativeModuleFacts): string[] {
  const problems: string[] = [];
  for (const [name, kind] of [
    ['memory', 'memory'],
    ['cc_lb_alloc', 'func'],
    ['cc_lb_free', 'func'],
  ] as const) {
    if (!exports(facts, name, kind))
      problems.push(`export ${name}: missing, expected a ${kind === 'func' ? 'function' : kind}`);
  }
  return problems;
}

function hookProblems(facts: NativeModuleFacts, reading: MetadataReading, problems: string[]): JudgedModule['schemas'] {
  const schemas: { [Hook in HookKind]?: SchemaByHook[Hook] } = {};
  const declared = HOOK_KINDS.filter((hook) => reading.metadata?.hooks[hook] !== undefined).sort();
  for (const hook of declared) {
    const { wireVersion } = reading.metadata!.hooks[hook]!;
    if (wireVersion !== WIRE_VERSION) {
      problems.push(`hooks.${hook}.wire_version: found ${wireVersion}, expected ${WIRE_VERSION}`);
    }
    if (!exports(facts, `cc_lb_${hook}`, 'func')) {
      problems.push(`export cc_lb_${hook}: missing, expected a function for the declared hook ${hook}`);
    }
    const name = schemaSection(hook);
    const section = lastSection(facts, name);
    if (section === undefined || section === null) {
      problems.push(`section ${name}: missing, expected the fingerprint of hook ${hook}`);
    } else if (section.length === FINGERPRINT_BYTES) {
      const fingerprint = Buffer.from(section).toString('hex');
      const schema = findSchema(hook, fingerprint);
      if (schema === undefined) problems.push(`section ${name}: ${explainFingerprint(hook, fingerprint)}`);
      else Object.assign(schemas, { [hook]: schema });
    }
  }
  const oldest = schemas.filter?.pdkReleases.includes('0.1.0') ?? false;
  problems.push(...modeProblems(reading, oldest).map((problem) => `section ${METADATA_SECTION}: ${problem}`));
  return schemas;
}

function exports(facts: NativeModuleFacts, name: string, kind: string): boolean {
  return facts.exports.some((entry) => entry.name === name && entry.kind === kind);
}

/** Returns the last section of a name; undefined without one, null for one that is too large to be read. */
function lastSection(facts: NativeModuleFacts, name: string): Uint8Array | null | undefined {
  return facts.sections.findLast((section) => section.name === name)?.data;
}
