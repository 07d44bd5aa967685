import { describe, expect, it } from 'vitest';
import { Admissions } from '../../src/admission/admissions.ts';
import { ModuleRejectedError, PoolSaturatedError, SlotKey } from '../../src/index.ts';
import { coreOf } from '../../src/runtime.ts';
import { rejected } from '../support/errors.ts';
import { guest } from '../support/guest.ts';
import { plugin } from '../support/plugins.ts';
import { isolatedRuntime, recorder } from '../support/runtimes.ts';
import { unique } from '../support/unique.ts';

const ENDLESS = guest({ hook: '(loop $l br $l) $answer' });

describe('asynchronous admissions', () => {
  it('do not wait for the endless probes of another principal', async () => {
    const runtime = isolatedRuntime({ deadlineMs: 1_000 });
    let ended = 0;
    const hostile = Array.from({ length: 6 }, async (_, at) => {
      await runtime.registerFilterAsync(new SlotKey('hostile', `p${at}`), 'p', unique(ENDLESS)).catch(() => {});
      ended++;
    });
    await expect.poll(() => ended, { timeout: 30_000 }).toBe(1);
    await runtime.registerFilterAsync(new SlotKey('ordinary', 'p'), 'p', plugin('cache-aware'));
    expect(ended).toBeLessThan(6);
    await Promise.all(hostile);
  }, 60_000);

  it('are saturated only for the principal that has used up its share', async () => {
    const { sink: metrics, lines } = recorder();
    const runtime = isolatedRuntime({ maxCompiles: 2, maxQueuedCompiles: 2 }, { metrics });
    const register = (principal: string) =>
      runtime.registerFilterAsync(new SlotKey(principal, 'p'), 'p', plugin('cache-aware'));
    const { admissions } = coreOf(runtime);
    for (let at = 0; at < 2; at++) expect(admissions.start('hostile', 1)).toBe(true);
    const error = await rejected(PoolSaturatedError, register('hostile'));
    expect(error).toMatchObject({ resource: 'compile', retryable: true });
    expect(lines).toContain('saturation compile');
    await register('ordinary');
    admissions.end('hostile', 1);
    await register('hostile');
  });
});

it('rejects a module of more than maxModuleBytes, also one that exceeds the limits of all admissions', async () => {
  const limits = { maxModuleBytes: 1_000, maxCompiles: 1, maxQueuedCompileBytes: 1_048_576 };
  const register = isolatedRuntime(limits).registerFilterAsync(new SlotKey('a', 'p'), 'p', new Uint8Array(2_097_152));
  await rejected(ModuleRejectedError, register);
});

describe('the bytes of admissions', () => {
  const limits = { maxCompiles: 1, maxQueuedCompiles: 100, maxModuleBytes: 100, maxQueuedCompileBytes: 200 };

  it('are limited to half for one principal, and returned', () => {
    const admissions = new Admissions(limits);
    expect([1, 2, 3].map(() => admissions.start('a', 100))).toEqual([true, true, false]);
    expect(admissions.start('b', 100)).toBe(true);
    admissions.end('a', 100);
    expect(admissions.start('a', 100)).toBe(true);
  });

  it('always suffice for one module of the maximum size', () => {
    expect(new Admissions({ ...limits, maxQueuedCompileBytes: 1 }).start('a', 100)).toBe(true);
  });
});
