/** Keys of slots, and maps by their value. */
import { InvalidArgumentError } from './errors.ts';
import { checkString } from './validate.ts';

/** The principal of slots that serve every caller. */
export const GLOBAL_PRINCIPAL = '__global__';

/** Identifies a slot by the principal that it serves, or all principals, and its plugin. Keys compare by value. */
export class SlotKey {
  /** The principal that the slot belongs to, or `__global__`. */
  readonly principal: string;
  /** The plugin's name within the principal. */
  readonly plugin: string;

  /** Throws an InvalidArgumentError for anything but two strings. */
  constructor(principal: string, plugin: string) {
    checkString(principal, 'key.principal');
    checkString(plugin, 'key.plugin');
    this.principal = principal;
    this.plugin = plugin;
    Object.freeze(this);
  }

  /** The key of a plugin that serves every principal. */
  static global(plugin: string): SlotKey {
    return new SlotKey(GLOBAL_PRINCIPAL, plugin);
  }

  /** Formats the key for messages: `principal/plugin`, each in quotes. */
  toString(): string {
    return `${JSON.stringify(this.principal)}/${JSON.stringify(this.plugin)}`;
  }
}

/** Copies a caller's key. Throws an InvalidArgumentError for anything but two strings. */
export function keyOf(key: unknown): SlotKey {
  const { principal, plugin } = (key ?? {}) as { principal?: unknown; plugin?: unknown };
  if (typeof principal !== 'string' || typeof plugin !== 'string') {
    throw new InvalidArgumentError('key', 'expected a SlotKey');
  }
  return key instanceof SlotKey && Object.isFrozen(key) ? key : new SlotKey(principal, plugin);
}

/** A map by the value of keys. */
export class KeyMap<Value> {
  readonly #principals = new Map<string, Map<string, { key: SlotKey; value: Value }>>();

  get(key: SlotKey): Value | undefined {
    return this.#principals.get(key.principal)?.get(key.plugin)?.value;
  }

  set(key: SlotKey, value: Value): void {
    let plugins = this.#principals.get(key.principal);
    if (plugins === undefined) {
      plugins = new Map();
      this.#principals.set(key.principal, plugins);
    }
    plugins.set(key.plugin, { key, value });
  }

  delete(key: SlotKey): boolean {
    const plugins = this.#principals.get(key.principal);
    const deleted = plugins?.delete(key.plugin) ?? false;
    if (plugins?.size === 0) this.#principals.delete(key.principal);
    return deleted;
  }

  *entries(): IterableIterator<[SlotKey, Value]> {
    for (const plugins of this.#principals.values()) {
      for (const { key, value } of plugins.values()) yield [key, value];
    }
  }

  get size(): number {
    let size = 0;
    for (const plugins of this.#principals.values()) size += plugins.size;
    return size;
  }
}
