import { describe, expect, it } from 'vitest';
import { HOOK_KINDS, type HookKind } from '../../src/types.ts';
import { explainFingerprint, findSchema, SCHEMAS } from '../../src/wire/schemas.ts';
import { linesOf } from './fuzz/vectors.ts';

/** The PDK release of each wire crate. */
const PDK_OF_WIRE: Record<string, string> = { '0.2.0': '0.1.0', '0.6.1': '0.1.1', '0.8.0': '0.1.2', '0.9.0': '0.2.0' };

const schemas = HOOK_KINDS.flatMap((hook) => SCHEMAS[hook].map((schema) => ({ ...schema, hook })));

describe('wire schemas', () => {
  it('include exactly the fingerprints of the published crates, by hook and PDK releases', () => {
    const known = schemas.flatMap(({ hook, fingerprint, pdkReleases }) =>
      pdkReleases.map((release) => `${hook} ${release} ${fingerprint}`),
    );
    const published = linesOf<{ wire: string; hook: HookKind; fingerprint: string }>('fingerprints.jsonl').map(
      ({ wire, hook, fingerprint }) => `${hook} ${PDK_OF_WIRE[wire]} ${fingerprint}`,
    );
    expect(known.sort()).toEqual(published.sort());
  });

  it('are found by hook and fingerprint', () => {
    for (const { hook, fingerprint, request } of schemas)
      for (const other of HOOK_KINDS)
        expect(findSchema(other, fingerprint)?.request).toBe(other === hook ? request : undefined);
  });

  it('spell OAuth callers as their wire crate does', () => {
    const spelt = schemas.map(({ pdkReleases, oauthPrincipalKind }) => [pdkReleases.join(), oauthPrincipalKind]);
    expect(spelt.filter(([, kind]) => kind === 'o_auth_subject')).toEqual([['0.1.0', 'o_auth_subject']]);
  });

  it('report the found and the accepted fingerprints of a mismatch', () => {
    const shape = SCHEMAS.shape[0]!.fingerprint;
    const explained = explainFingerprint('filter', shape);
    expect(explained).toContain(`found fingerprint ${shape} (hook shape of PDK 0.1.0, 0.1.1, 0.1.2, 0.2.0)`);
    for (const { fingerprint } of SCHEMAS.filter) expect(explained).toContain(fingerprint);
    expect(explained).toContain('(hook filter of PDK 0.1.2, 0.2.0)');
  });

  it('report an unknown fingerprint as of no published PDK', () => {
    expect(explainFingerprint('observe', '00'.repeat(32))).toMatch(/^found fingerprint 0{64} \(of no published PDK\)/);
  });
});
