/**
 * Plugins of a folder. `NAME.wasm` is a plugin; `NAME.json` may have its name, its hash and its options, and
 * `NAME.json.sig` is the signature of these. Files are read after they have not changed for a time, so that no partially
 * written file is read.
 */
import type { KeyObject } from 'node:crypto';
import { type FSWatcher, watch } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { inspectWasm } from 'cc-lb-runtime-wasmtime';
import { z } from 'zod';
import { readRegularFile } from './regular-file.ts';
import { type PluginRoute, pluginSchema } from './routes.ts';
import { checkHash, checkSignature } from './trust.ts';

/** The folder and the keys of its signatures. */
export interface PluginFolderOptions {
  readonly path: string;
  /**
   * If there are any, every plugin requires options that one of them signed, with its name and its hash: who may write to
   * the folder could otherwise remove options, or exchange them for those of another plugin.
   */
  readonly trustedKeys: readonly KeyObject[];
  /** Milliseconds that a file must not have changed. */
  readonly settleMs: number;
  /** Maximum size of a file in bytes. */
  readonly maxBytes: number;
  /** Maximum size of all plugins in bytes. One that exceeds it is rejected. */
  readonly maxTotalBytes: number;
  /** Maximum deadline in milliseconds: a call of an endless plugin occupies a thread until then. */
  readonly maxDeadlineMs: number;
  /** Maximum number of plugins. Further ones are ignored, and the first of them is reported as rejected. */
  readonly maxPlugins: number;
}

/** A plugin that is new, changed or removed (`route` null), or why it cannot be read. */
export type FolderChange =
  | { readonly name: string; readonly route: PluginRoute | null }
  | { readonly name: string; readonly error: Error };

const optionsSchema = pluginSchema.extend({ kind: pluginSchema.shape.kind.optional(), name: z.string().optional() });
const signedSchema = optionsSchema.required({ name: true, sha256: true });
const KINDS = pluginSchema.shape.kind.options;
const EXTENSION = '.wasm';
/** The files of a plugin, which it may have beside its module. */
const OPTIONS = '.json';
const SIGNATURE = '.json.sig';
const FILES = [EXTENSION, OPTIONS, SIGNATURE];
/** Maximum size in bytes of a module that is read to find its kind, which blocks the event loop of the primary process. */
const MAX_INSPECTED_BYTES = 4 * 1024 * 1024;
/** Maximum size in bytes of each file beside the module. */
const MAX_SIDECAR_BYTES = 64 * 1024;
/** The state of a file that does not exist. */
const ABSENT = '';
/** The state of a file that exists, or may exist. */
const UNREADABLE = 'unreadable';
/** The state of the first plugin that exceeds the maximum number. */
const EXCESS = 'excess';
/** Watchers miss changes on some file systems, so the folder is also read periodically. */
const RESCAN_MS = 10_000;

/** Watches a folder and reports each change once. */
export class PluginFolder {
  readonly #options: PluginFolderOptions;
  /** The state of each plugin's files that was reported last. */
  readonly #reported = new Map<string, string>();
  /** The states that were read last, of plugins whose state is not the reported one. */
  #pending = new Map<string, string>();
  /** The size of each plugin that was read, until it is removed. */
  readonly #sizes = new Map<string, number>();
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** The time of the next scan by `performance.now()`. */
  #scanAt = Number.POSITIVE_INFINITY;
  #isScanning = false;
  #isClosed = false;
  #onChanges: ((changes: readonly FolderChange[]) => Promise<void>) | undefined;

  constructor(options: PluginFolderOptions) {
    this.#options = options;
  }

  /** Returns the current plugins, settled or not, for the start. */
  async read(): Promise<readonly FolderChange[]> {
    const states = await this.#states();
    for (const [name, state] of states) this.#reported.set(name, state);
    return this.#changesTo([...states]);
  }

  /** Reports later changes in batches. */
  watch(onChanges: (changes: readonly FolderChange[]) => Promise<void>): void {
    this.#onChanges = onChanges;
    this.#watcher = watch(this.#options.path, () => this.#schedule(this.#options.settleMs));
    this.#watcher.on('error', () => this.#watcher?.close());
    this.#schedule(RESCAN_MS);
  }

  close(): void {
    this.#isClosed = true;
    this.#watcher?.close();
    clearTimeout(this.#timer);
  }

  /**
   * Schedules a scan, unless an earlier one is scheduled: a file that always changes must not delay others. Scans do not
   * overlap, so that no earlier state of a plugin is reported after a later one.
   */
  #schedule(delayMs: number): void {
    this.#scanAt = Math.min(this.#scanAt, performance.now() + delayMs);
    if (this.#isClosed || this.#isScanning) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#scanNow(), this.#scanAt - performance.now());
    this.#timer.unref();
  }

  async #scanNow(): Promise<void> {
    this.#scanAt = Number.POSITIVE_INFINITY;
    this.#isScanning = true;
    const delayMs = await this.#scan();
    this.#isScanning = false;
    this.#schedule(delayMs);
  }

  /** Reports settled changes; returns the milliseconds until the next scan. */
  async #scan(): Promise<number> {
    let states: Map<string, string>;
    try {
      states = await this.#states();
    } catch {
      // An unreadable folder does not mean that its plugins are removed.
      return RESCAN_MS;
    }
    // Removals come first, because they make bytes available.
    const removed = [...this.#reported.keys()]
      .filter((name) => !states.has(name))
      .map((name) => [name, ABSENT] as const);
    const changed = [...removed, ...states].filter(([name, state]) => this.#reported.get(name) !== state);
    const settled = changed.filter(([name, state]) => this.#pending.get(name) === state);
    this.#pending = new Map(changed);
    for (const [name, state] of settled) {
      if (state === ABSENT) this.#reported.delete(name);
      else this.#reported.set(name, state);
    }
    if (settled.length > 0) await this.#onChanges?.(await this.#changesTo(settled));
    return changed.length > settled.length ? this.#options.settleMs : RESCAN_MS;
  }

  /**
   * Returns sizes and times of every plugin's files, by the plugin's name; the reported ones if they cannot be read,
   * because such a plugin is neither changed nor removed.
   */
  async #states(): Promise<Map<string, string>> {
    const { path, maxPlugins } = this.#options;
    const files = await readdir(path);
    const names = files.filter((file) => file.endsWith(EXTENSION)).map((file) => file.slice(0, -EXTENSION.length));
    // New plugins do not displace known ones.
    const isKnown = (name: string) => (this.#reported.get(name) ?? EXCESS) !== EXCESS;
    const known = names.filter(isKnown);
    const added = names.filter((name) => !isKnown(name)).sort();
    const free = Math.max(0, maxPlugins - known.length);
    const states = new Map<string, string>();
    for (const name of [...known, ...added.slice(0, free)].sort()) {
      const parts = await Promise.all(FILES.map((extension) => stateOf(join(path, name + extension))));
      if (parts[0] === ABSENT) continue;
      const reported = parts.includes(UNREADABLE) ? this.#reported.get(name) : undefined;
      states.set(name, reported ?? parts.join(' '));
    }
    const excess = added[free];
    if (excess !== undefined) states.set(excess, EXCESS);
    return states;
  }

  /** Returns the changes to these states. Files are read in succession, because together they may exceed the memory. */
  async #changesTo(states: readonly (readonly [name: string, state: string])[]): Promise<FolderChange[]> {
    const changes: FolderChange[] = [];
    for (const [name, state] of states) changes.push(await this.#changeTo(name, state));
    return changes;
  }

  async #changeTo(name: string, state: string): Promise<FolderChange> {
    if (state !== ABSENT && state !== EXCESS) return this.#load(name);
    this.#sizes.delete(name);
    if (state === ABSENT) return { name, route: null };
    return { name, error: new Error(`the folder has more than ${this.#options.maxPlugins} plugins`) };
  }

  async #load(name: string): Promise<FolderChange> {
    const { path, maxBytes } = this.#options;
    try {
      const { sha256, kind, ...rest } = await this.#loadOptions(name);
      const bytes = await readRegularFile(join(path, name + EXTENSION), maxBytes);
      this.#checkTotal(name, bytes.length);
      checkHash(bytes, sha256);
      const route = { ...rest, name, bytes, kind: kind ?? kindOf(bytes) };
      this.#sizes.set(name, bytes.length);
      return { name, route };
    } catch (error) {
      return { name, error: error instanceof Error ? error : new Error(String(error)) };
    }
  }

  /** Throws if the folder would have too many bytes of plugins with `bytes` for this one. */
  #checkTotal(name: string, bytes: number): void {
    const { maxTotalBytes } = this.#options;
    let total = bytes;
    for (const [other, size] of this.#sizes) if (other !== name) total += size;
    if (total > maxTotalBytes)
      throw new Error(`with it, the plugins of the folder have more than ${maxTotalBytes} bytes`);
  }

  async #loadOptions(name: string): Promise<z.infer<typeof optionsSchema>> {
    const { path, trustedKeys, maxDeadlineMs } = this.#options;
    const file = name + OPTIONS;
    const text = await readIfThere(join(path, file));
    const isSigned = trustedKeys.length > 0;
    if (text === undefined) {
      if (isSigned) throw new Error(`there is no ${file} with a signature`);
      return {};
    }
    const signature = await readIfThere(join(path, name + SIGNATURE));
    try {
      checkSignature(text, signature, trustedKeys);
    } catch (error) {
      throw new Error(`${file}: ${(error as Error).message}`);
    }
    const options = (isSigned ? signedSchema : optionsSchema).safeParse(parsedJson(file, text));
    if (!options.success) throw new Error(`${file}: ${z.prettifyError(options.error)}`);
    const { name: named = name } = options.data;
    if (named !== name) throw new Error(`${file} is of the plugin ${JSON.stringify(named)}`);
    const { deadlineMs = 0 } = options.data;
    if (deadlineMs > maxDeadlineMs) {
      throw new Error(`${file}: deadlineMs is ${deadlineMs}, longer than the ${maxDeadlineMs} of the engine's config`);
    }
    return options.data;
  }
}

/** Parses JSON. The error has no text of the file, which may be a link to a secret one: operators see it on `/status`. */
function parsedJson(file: string, text: Buffer): unknown {
  try {
    return JSON.parse(text.toString());
  } catch {
    throw new Error(`${file} is not valid JSON`);
  }
}

/** Returns the only kind of slot that a module can serve. @throws Error if there is none or several */
function kindOf(bytes: Buffer): PluginRoute['kind'] {
  if (bytes.length > MAX_INSPECTED_BYTES) {
    throw new Error(`the module has more than ${MAX_INSPECTED_BYTES} bytes: name its kind in the .json file`);
  }
  const { metadata, problems } = inspectWasm(bytes);
  if (metadata === null) throw new Error(problems[0] ?? 'the module is not a plugin');
  const kinds = KINDS.filter((kind) => metadata.hooks[kind] !== undefined);
  if (kinds.length === 1) return kinds[0]!;
  throw new Error(`the module declares ${kinds.join(' and ') || 'no hook of a slot'}: name its kind in the .json file`);
}

async function stateOf(path: string): Promise<string> {
  try {
    const { size, mtimeMs, ino } = await stat(path);
    return `${size}:${mtimeMs}:${ino}`;
  } catch (error) {
    return isAbsent(error) ? ABSENT : UNREADABLE;
  }
}

function isAbsent(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}

async function readIfThere(path: string): Promise<Buffer | undefined> {
  try {
    return await readRegularFile(path, MAX_SIDECAR_BYTES);
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}
