import { quoted } from '../printable.ts';
import { HOOK_KINDS, type HookKind } from '../types.ts';
import { JsonError, JsonReader } from './json.ts';

/** Whether the host calls a declared hook; only transforms may be `noop`. */
export type HookMode = 'active' | 'noop';

/** The metadata of a hook. */
export interface HookMetadata {
  /** Always 1. */
  readonly wireVersion: number;
  /** What the hook does. */
  readonly description: string;
  /** How to configure it. */
  readonly usage: string;
  /** `null` if the plugin declares none. */
  readonly mode: HookMode | null;
}

/** The metadata of a plugin, from its section `cc_lb.plugin.v1`. */
export interface PluginMetadata {
  /** The plugin's own name. */
  readonly name: string;
  /** The plugin's own version. */
  readonly version: string;
  /** What the plugin does. */
  readonly description: string;
  /** How to configure it. */
  readonly usage: string;
  /** The hooks that the plugin declares. */
  readonly hooks: Readonly<Partial<Record<HookKind, HookMetadata>>>;
}

/** A mode that is neither active nor noop, or is duplicated: a problem in schemas that define modes. */
export interface BadMode {
  readonly hook: HookKind;
  readonly problem: string;
}

/** The result of reading the section. */
export interface MetadataReading {
  /** `null` if the section is not valid JSON of the expected structure. */
  readonly metadata: PluginMetadata | null;
  /** In the order of admission's checks; each names its field and what was expected. */
  readonly problems: readonly string[];
  readonly badModes: readonly BadMode[];
}

/** The hooks that exist from wire 0.6 on and belong to a shape plugin. */
const TRANSFORMS = ['transform_response', 'transform_sse_event'] as const satisfies readonly HookKind[];
const BLANK = /^\p{White_Space}*$/u;
const TEXT_FIELDS = ['name', 'version', 'description', 'usage'] as const;
const HOOK_TEXT_FIELDS = ['description', 'usage'] as const;

/**
 * Reads the bytes of `cc_lb.plugin.v1`. Accepts what the serde types of the Rust hosts accept: UTF-8 without a byte
 * order mark, each field once, unknown fields ignored, the last of a duplicate hook. It is stricter than serde in one
 * respect: it rejects a struct written as a JSON array.
 */
export function readMetadata(section: Uint8Array): MetadataReading {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(section);
  } catch {
    return { metadata: null, problems: ['not UTF-8 text, expected JSON'], badModes: [] };
  }
  const hooks = new Map<string, HookMetadata>();
  const badModes: BadMode[] = [];
  let texts: Record<string, string>;
  try {
    texts = readPlugin(text, hooks, badModes);
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    return { metadata: null, problems: [error.message], badModes: [] };
  }
  const { name, version, description, usage } = texts as Record<(typeof TEXT_FIELDS)[number], string>;
  const known = [...hooks].filter(([hook]) => isHookKind(hook));
  return {
    metadata: frozenMetadata({ name, version, description, usage, hooks: Object.fromEntries(known) }),
    problems: contentProblems(texts, hooks),
    badModes,
  };
}

/** Freezes the metadata of a plugin, which all versions of its content share. */
export function frozenMetadata(metadata: PluginMetadata): PluginMetadata {
  for (const hook of Object.values(metadata.hooks)) Object.freeze(hook);
  Object.freeze(metadata.hooks);
  return Object.freeze(metadata);
}

/**
 * Returns the problems of the set of hooks and their modes. A plugin that declares a transform must declare shape and
 * both transforms, each with a mode; no other hook may be noop. Wire 0.2.0 defines no modes, which only the fingerprint
 * of a filter shows: `filterIgnoresMode`. An invalid mode is ignored unless the plugin is known to be newer than wire
 * 0.2.0.
 */
export function modeProblems(reading: MetadataReading, filterIgnoresMode: boolean): string[] {
  const hooks = reading.metadata?.hooks ?? {};
  const declaresTransform = TRANSFORMS.some((transform) => hooks[transform] !== undefined);
  const ignored = (hook: HookKind) => hook === 'filter' && filterIgnoresMode;
  const problems: string[] = [];
  if (declaresTransform || (hooks.filter !== undefined && !filterIgnoresMode)) {
    for (const { hook, problem } of reading.badModes) if (!ignored(hook)) problems.push(problem);
  }
  if (declaresTransform) {
    if (hooks.shape === undefined) problems.push('hooks.shape: a plugin that declares a transform must declare shape');
    for (const transform of TRANSFORMS) {
      if (hooks[transform] === undefined) {
        problems.push(`hooks.${transform}: a plugin that declares one transform must declare both`);
      } else if (hooks[transform].mode === null && !reading.badModes.some(({ hook }) => hook === transform)) {
        problems.push(`hooks.${transform}.mode: expected "active" or "noop", a transform must say which`);
      }
    }
  }
  for (const hook of ['filter', 'observe', 'shape'] as const) {
    if (hooks[hook]?.mode === 'noop' && !ignored(hook)) {
      problems.push(`hooks.${hook}.mode: expected "active", only a transform may be "noop"`);
    }
  }
  return problems;
}

function isHookKind(hook: string): hook is HookKind {
  return (HOOK_KINDS as readonly string[]).includes(hook);
}

function readPlugin(text: string, hooks: Map<string, HookMetadata>, badModes: BadMode[]): Record<string, string> {
  const json = new JsonReader(text);
  const texts: Record<string, string> = {};
  const seen = new Set<string>();
  json.object('metadata', (key) => {
    if (isOneOf(TEXT_FIELDS, key)) {
      once(seen, key, key);
      texts[key] = json.string(`${key}: expected a string`);
    } else if (key === 'hooks') {
      once(seen, key, key);
      json.object('hooks', (hook) => {
        hooks.set(hook, readHook(json, hook, badModes));
      });
    } else {
      json.skip(`metadata.${quoted(key)}`);
    }
  });
  json.end();
  for (const field of TEXT_FIELDS) {
    if (!seen.has(field)) throw new JsonError(`${field}: missing, expected a string`);
  }
  return texts;
}

function readHook(json: JsonReader, hook: string, badModes: BadMode[]): HookMetadata {
  const path = isHookKind(hook) ? `hooks.${hook}` : `hooks[${quoted(hook)}]`;
  const texts: { description?: string; usage?: string } = {};
  const seen = new Set<string>();
  let wireVersion = 0;
  let mode: HookMode | null = null;
  json.object(path, (key) => {
    if (isOneOf(HOOK_TEXT_FIELDS, key)) {
      once(seen, key, `${path}.${key}`);
      texts[key] = json.string(`${path}.${key}: expected a string`);
    } else if (key === 'wire_version') {
      once(seen, key, `${path}.${key}`);
      wireVersion = json.byte(`${path}.wire_version: expected an integer from 0 to 255`);
    } else if (key === 'mode') {
      const value = json.skip(`${path}.mode`);
      mode = modeOf(value);
      if (isHookKind(hook)) {
        if (mode === null) badModes.push({ hook, problem: `${path}.mode: expected "active" or "noop"` });
        else if (seen.has(key)) badModes.push({ hook, problem: `duplicate field \`${path}.mode\`` });
      }
      seen.add(key);
    } else {
      json.skip(`${path}.${quoted(key)}`);
    }
  });
  if (!seen.has('wire_version')) throw new JsonError(`${path}.wire_version: missing, expected an integer`);
  const { description, usage } = texts;
  if (description === undefined) throw new JsonError(`${path}.description: missing, expected a string`);
  if (usage === undefined) throw new JsonError(`${path}.usage: missing, expected a string`);
  return { wireVersion, description, usage, mode };
}

/** Returns the mode of a JSON text, which may contain escapes; null for any other value. */
function modeOf(json: string): HookMode | null {
  if (!json.startsWith('"')) return null;
  const value: unknown = JSON.parse(json);
  return value === 'active' || value === 'noop' ? value : null;
}

function contentProblems(texts: Record<string, string>, hooks: ReadonlyMap<string, HookMetadata>): string[] {
  const problems: string[] = [];
  for (const field of TEXT_FIELDS) {
    if (BLANK.test(texts[field]!)) problems.push(`${field}: blank, expected some text`);
  }
  if (hooks.size === 0) problems.push('hooks: empty, expected at least one hook');
  for (const hook of [...hooks.keys()].sort()) {
    if (!isHookKind(hook)) {
      problems.push(`hooks: ${quoted(hook)} is not a hook, expected one of ${HOOK_KINDS.join(', ')}`);
      continue;
    }
    for (const field of HOOK_TEXT_FIELDS) {
      if (BLANK.test(hooks.get(hook)![field])) problems.push(`hooks.${hook}.${field}: blank, expected some text`);
    }
  }
  return problems;
}

function once(seen: Set<string>, field: string, path: string): void {
  if (seen.has(field)) throw new JsonError(`duplicate field \`${path}\``);
  seen.add(field);
}

function isOneOf<T extends string>(fields: readonly T[], key: string): key is T {
  return (fields as readonly string[]).includes(key);
}
