import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { HOOK_KINDS, type HookKind } from '../src/types.ts';
import { guestBytes, Module } from './plugins/v8.ts';

const folder = fileURLToPath(new URL('plugins/', import.meta.url));

/** The first digits of each hook's fingerprint, by PDK release. */
const EARLY = { filter: '049219a3', shape: '4d8dc514', observe: 'a488b2dd' };
const LATER = {
  filter: 'f20f6695',
  shape: '4d8dc514',
  transform_response: '96aa46cb',
  transform_sse_event: 'af8e6292',
};
const FINGERPRINTS: Record<string, Partial<Record<HookKind, string>>> = {
  'pdk-0.1.0': EARLY,
  'pdk-0.1.1': { ...LATER, observe: EARLY.observe, filter: 'e2ddd9c3' },
  'pdk-0.1.2': { ...LATER, observe: EARLY.observe },
  'pdk-0.2.0': LATER,
  'mixed-schemas': { ...LATER, ...EARLY },
};

interface Metadata {
  name: string;
  version: string;
  description: string;
  usage: string;
  hooks: Record<string, { wire_version: number; description: string; usage: string; mode?: string }>;
}

/** A guest as described by its source. */
interface Source {
  readonly crate: string;
  readonly workspace: string;
  readonly crateVersion: string;
  readonly metadata: Metadata;
}

/** Parses the `key = "value"` pairs of an attribute. */
function pairs(attribute: string): Record<string, string> {
  return Object.fromEntries([...attribute.matchAll(/(\w+) = "([^"]*)"/g)].map(([, key, value]) => [key, value]));
}

function described(source: string, workspace: string): Metadata {
  const byHand = source.match(/br#"(\{.*\})"#/)?.[1];
  if (byHand !== undefined) return JSON.parse(byHand);
  const plugin = source.match(/#\[cc_lb_plugin\(([\s\S]*?)\n\)\]/)?.[1];
  const handlers = [...source.matchAll(/#\[handler\(\s*(\w+),\s*wire = (\d+),([\s\S]*?)\)\]/g)];
  const hooks = handlers.map(([, hook, wire, rest]) => {
    const { description, usage, mode } = pairs(rest!);
    const hookMetadata = { wire_version: Number(wire), description, usage };
    return [hook, workspace === 'pdk-0.1.0' ? hookMetadata : { ...hookMetadata, mode: mode ?? 'active' }];
  });
  return { ...pairs(plugin!), hooks: Object.fromEntries(hooks) } as unknown as Metadata;
}

const VERSION = /^version = "(.*)"/m;

function read(path: string): string {
  return readFileSync(`${folder}${path}`, 'utf8');
}

/** Returns the guest in a folder that was built with the PDK `release` and may inherit the version of `manifest`. */
function guestIn(path: string, crate: string, release: string, manifest = ''): Source {
  const crateVersion = (read(`${path}/Cargo.toml`).match(VERSION) ?? manifest.match(VERSION))![1]!;
  return { crate, workspace: release, crateVersion, metadata: described(read(`${path}/src/lib.rs`), release) };
}

const sources: Source[] = readdirSync(folder)
  .filter((name) => name.startsWith('pdk-'))
  .flatMap((workspace) => {
    const manifest = read(`${workspace}/Cargo.toml`);
    const members = manifest.match(/members = \[([^\]]*)\]/)![1]!;
    return [...members.matchAll(/"([^"]+)"/g)].map(([, crate]) =>
      guestIn(`${workspace}/${crate}`, crate!, workspace, manifest),
    );
  });
sources.push(guestIn('no-staging', 'no-staging', 'pdk-0.2.0'));

function section(module: object, name: string): Buffer[] {
  return Module.customSections(module, name).map((data) => Buffer.from(data));
}

describe('built guests', () => {
  it('correspond to the sources', () => {
    const built = readdirSync(`${folder}wasm`).map((file) => file.replace(/\.wasm$/, ''));
    expect(built.sort()).toEqual(sources.map((source) => source.crate).sort());
  });

  describe.each(sources)('$crate', ({ crate, workspace, crateVersion, metadata }) => {
    const bytes = guestBytes(crate);
    const module = new Module(bytes);

    it('has the metadata of its source', () => {
      const sections = section(module, 'cc_lb.plugin.v1');
      expect(sections).toHaveLength(1);
      expect(JSON.parse(sections[0]!.toString())).toEqual(metadata);
      expect(metadata.version).toBe(crateVersion);
      expect(Object.keys(metadata.hooks).length).toBeGreaterThan(0);
    });

    it('has the fingerprint of its PDK for each declared hook', () => {
      const expected = FINGERPRINTS[crate] ?? FINGERPRINTS[workspace];
      for (const hook of HOOK_KINDS) {
        const sections = section(module, `cc_lb.schema.${hook}.v1`);
        const digits = sections.map((data) => data.toString('hex'));
        if (hook in metadata.hooks) {
          expect(digits, hook).toEqual([expect.stringMatching(new RegExp(`^${expected?.[hook]}[0-9a-f]{56}$`))]);
        } else {
          expect(digits, hook).toEqual([]);
        }
      }
    });

    it('imports nothing and exports the ABI', () => {
      expect(Module.imports(module)).toEqual([]);
      const exports = Object.fromEntries(Module.exports(module).map(({ name, kind }) => [name, kind]));
      expect(exports).toMatchObject({ memory: 'memory', cc_lb_alloc: 'function', cc_lb_free: 'function' });
      const hooks = HOOK_KINDS.filter((hook) => `cc_lb_${hook}` in exports);
      expect(hooks).toEqual(HOOK_KINDS.filter((hook) => hook in metadata.hooks));
    });

    it('contains no paths of the build machine', () => {
      const text = Buffer.from(bytes).toString('latin1');
      for (const trace of [/\/(home|root|usr|work|tmp|Users|build)\//, /[A-Z]:\\/, /\.cargo/, /\.rs\b/, /rustlib/]) {
        expect(text).not.toMatch(trace);
      }
    });
  });
});
