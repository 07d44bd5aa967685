/** The address space around a guest's memory, as the kernel lists it. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { SlotKey, WasmtimeFilterPlugin } from '../src/index.ts';
import { plugin } from './support/plugins.ts';
import { isolatedRuntime, STRATEGIES } from './support/runtimes.ts';
import { caller, request } from './support/samples.ts';

const MIB = 2 ** 20;
const LAYOUT = { memoryMaxPages: 64, memoryReservationBytes: 48 * MIB, memoryGuardBytes: 24 * MIB };

interface Mapping {
  readonly from: bigint;
  readonly to: bigint;
  readonly protection: string;
}

function mappings(): Mapping[] {
  return readFileSync('/proc/self/maps', 'latin1')
    .trimEnd()
    .split('\n')
    .map((line) => {
      const [range, protection] = line.split(' ') as [string, string];
      const [from, to] = range.split('-').map((address) => BigInt(`0x${address}`)) as [bigint, bigint];
      return { from, to, protection };
    });
}

/** Accessible ranges with at least a guard region of inaccessible space on both sides. */
function guarded(): string[] {
  const guard = BigInt(LAYOUT.memoryGuardBytes);
  const all = mappings();
  const isGuard = (mapping: Mapping | undefined) =>
    mapping?.protection.startsWith('---') === true && mapping.to - mapping.from >= guard;
  return all
    .filter(({ from, to, protection }, at) => {
      const [before, after] = [all[at - 1], all[at + 1]];
      return (
        protection.startsWith('rw-') && before?.to === from && after?.from === to && isGuard(before) && isGuard(after)
      );
    })
    .map(({ from }) => from.toString(16));
}

it.runIf(process.platform === 'linux').each(STRATEGIES)(
  "a guest's memory has a guard region before and after it, $strategy",
  async ({ config }) => {
    const before = new Set(guarded());
    const runtime = isolatedRuntime({ ...config, ...LAYOUT });
    const slot = runtime.registerFilter(SlotKey.global('k'), 'n', plugin('misbehave'));
    const filter = new WasmtimeFilterPlugin(runtime, slot);
    const options = { where: 'thread', deadlineMs: 300 } as const;
    const ended = filter.filterAsync(request(), caller({ do: 'loop' }), [], options).catch(() => {});
    await expect.poll(() => runtime.stats().engine.running, { interval: 1 }).toBe(1);
    expect(guarded().filter((start) => !before.has(start)).length).toBeGreaterThan(0);
    await ended;
  },
);
