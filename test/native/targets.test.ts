import { setImmediate as nextTurn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it } from 'vitest';

import { SlotKey } from '../../src/index.ts';
import { native } from '../../src/native/addon.ts';
import { coreOf } from '../../src/runtime.ts';
import { plugin } from '../support/plugins.ts';
import { isolatedRuntime } from '../support/runtimes.ts';

/** The offset of the target's number in the scratch memory. */
const TARGET = 40;
const EMPTY = new Uint8Array(0);

function moduleOf(name: string) {
  const runtime = isolatedRuntime();
  const slot = runtime.registerShape(SlotKey.global(name), name, plugin(name));
  return coreOf(runtime).slots.get(slot.key)!.version.module;
}

function callTarget(number: number): unknown {
  const scratch = new Uint8Array(64);
  new Uint32Array(scratch.buffer)[TARGET / 4] = number;
  return native.callHook(scratch, EMPTY);
}

it('rejects a number that no target has', () => {
  expect(() => callTarget(0xffff_ffff)).toThrow('target 4294967295 does not exist');
});

it('gives each module and each stream a number of its own, which it keeps', () => {
  const module = moduleOf('masker');
  const streams = [module.openStream('a'), module.openStream('b')];
  const numbers = [module, ...streams].map((target) => target.target());
  expect(new Set(numbers).size).toBe(3);
  expect([module, ...streams].map((target) => target.target())).toEqual(numbers);
});

it('reuses the numbers of streams that were collected', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const module = moduleOf('masker');
  const first = module.openStream('first').target();
  for (let round = 0; round < 20; round++) {
    for (let i = 0; i < 50; i++) module.openStream('other').close();
    collect();
    await nextTurn();
  }
  expect(module.openStream('last').target()).toBeLessThan(first + 500);
});
