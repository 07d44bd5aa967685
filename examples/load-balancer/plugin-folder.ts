/**
 * Plugins of a folder. `NAME.wasm` is a plugin; `NAME.json` may have its options and its hash. `NAME.sig` and
 * `NAME.json.sig` are the signatures of the two. Files are read after they have not changed for a time, so that no
 * partially written file is read.
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
  /** If there are any, a plugin and its options each require a signature by one of them. */
  readonly trustedKeys: readonly KeyObject[];
  /** Milliseconds that a file must not have changed. */
  readonly settleMs: number;
  /** Maximum size of a file in bytes. */
  readonly maxBytes: number;
}

/** A plugin that is new, changed or removed (`route` null), or why it cannot be read. */
export type FolderChange =
  | { readonly name: string; readonly route: PluginRoute | null }
  | { readonly name: string; readonly error: Error };

const optionsSchema = pluginSchema.extend({ kind: pluginSchema.shape.kind.optional() });
const KINDS = pluginSchema.shape.kind.options;
const EXTENSION = '.wasm';
/** The files of a plugin, which it may have beside its module. */
const OPTIONS = '.json';
const SIGNATURE = '.sig';
const OPTIONS_SIGNATURE = OPTIONS + SIGNATURE;
const FILES = [EXTENSION, OPTIONS, SIGNATURE, OPTIONS_SIGNATURE];
/** Maximum size in bytes of each file beside the module. */
const MAX_SIDECAR_BYTES = 64 * 1024;
/** The state of a file that does not exist. */
const ABSENT = '';
/** The state of a file that exists, or may exist. */
const UNREADABLE = 'unreadable';
/** Watchers miss changes on some file systems, so the folder is also read periodically. */
const RESCAN_MS = 10_000;

/** Watches a folder and reports each change once. */
export class PluginFolder {
  readonly #options: PluginFolderOptions;
  /** The state of each plugin's files that was reported last. */
  readonly #reported = new Map<string, string>();
  /** The states that were read last, of plugins whose state is not the reported one. */
  #pending = new Map<string, string>();
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;
  #onChanges: ((changes: readonly FolderChange[]) => Promise<void>) | undefined;

  constructor(options: PluginFolderOptions) {
    this.#options = options;
  }

  /** Returns the current plugins, settled or not, for the start. */
  async read(): Promise<readonly FolderChange[]> {
    const states = await this.#states();
    const changes = await Promise.all([...states.keys()].map((name) => this.#load(name)));
    for (const [name, state] of states) this.#reported.set(name, state);
    return changes;
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

  #schedule(delayMs: number): void {
    if (this.#isClosed) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#scan().then((delay) => this.#schedule(delay));
    }, delayMs);
    this.#timer.unref();
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
    for (const name of this.#reported.keys()) if (!states.has(name)) states.set(name, ABSENT);
    const changed = [...states].filter(([name, state]) => this.#reported.get(name) !== state);
    const settled = changed.filter(([name, state]) => this.#pending.get(name) === state);
    this.#pending = new Map(changed);
    for (const [name, state] of settled) {
      if (state === ABSENT) this.#reported.delete(name);
      else this.#reported.set(name, state);
    }
    if (settled.length > 0) {
      const changes = settled.map(([name, state]) => (state === ABSENT ? { name, route: null } : this.#load(name)));
      await this.#onChanges?.(await Promise.all(changes));
    }
    return changed.length > settled.length ? this.#options.settleMs : RESCAN_MS;
  }

  /**
   * Returns sizes and times of every plugin's files, by the plugin's name; the reported ones if they cannot be read,
   * because such a plugin is neither changed nor removed.
   */
  async #states(): Promise<Map<string, string>> {
    const { path } = this.#options;
    const files = await readdir(path);
    const names = files.filter((file) => file.endsWith(EXTENSION)).map((file) => file.slice(0, -EXTENSION.length));
    const states = new Map<string, string>();
    for (const name of names.sort()) {
      const parts = await Promise.all(FILES.map((extension) => stateOf(join(path, name + extension))));
      if (parts[0] === ABSENT) continue;
      const reported = parts.includes(UNREADABLE) ? this.#reported.get(name) : undefined;
      states.set(name, reported ?? parts.join(' '));
    }
    return states;
  }

  async #load(name: string): Promise<FolderChange> {
    const { path, trustedKeys, maxBytes } = this.#options;
    try {
      const bytes = await readRegularFile(join(path, name + EXTENSION), maxBytes);
      const { sha256, kind, ...rest } = await this.#loadOptions(name);
      checkHash(bytes, sha256);
      checkSignature(bytes, await readIfThere(join(path, name + SIGNATURE)), trustedKeys);
      return { name, route: { name, bytes, kind: kind ?? kindOf(bytes), ...rest } };
    } catch (error) {
      return { name, error: error instanceof Error ? error : new Error(String(error)) };
    }
  }

  async #loadOptions(name: string): Promise<z.infer<typeof optionsSchema>> {
    const { path, trustedKeys } = this.#options;
    const file = name + OPTIONS;
    const text = await readIfThere(join(path, file));
    if (text === undefined) return {};
    const signature = await readIfThere(join(path, name + OPTIONS_SIGNATURE));
    try {
      checkSignature(text, signature, trustedKeys);
    } catch (error) {
      throw new Error(`${file}: ${(error as Error).message}`);
    }
    const options = optionsSchema.safeParse(parsedJson(file, text));
    if (!options.success) throw new Error(`${file}: ${z.prettifyError(options.error)}`);
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
