import { expect, it } from 'vitest';
import { Placement } from '../../src/isolation/placement.ts';

function placed(calls: Iterable<boolean>): boolean[] {
  const placement = new Placement();
  return Array.from(calls, (long) => {
    placement.note(long);
    return placement.offThread;
  });
}

it('stays on the thread while calls are short and after a single long one', () => {
  expect(placed([false, false, true, false, false]).some((off) => off)).toBe(false);
});

it('moves off the thread after two long calls in a row', () => {
  expect(placed([true, true])).toEqual([false, true]);
});

it('moves off the thread if every third call is long', () => {
  const calls = Array.from({ length: 30 }, (_, at) => at % 3 === 0);
  expect(placed(calls).at(-1)).toBe(true);
});

it('moves off the thread after one decisive call, and back after short ones and twenty times its time', () => {
  let now = 1_000;
  const placement = new Placement(() => now);
  const noteShort = (count: number) => {
    for (let at = 0; at < count; at++) placement.note(false);
    return placement.offThread;
  };
  placement.noteDecisive(10);
  expect(placement.offThread).toBe(true);
  expect(noteShort(1)).toBe(true);
  expect(noteShort(16)).toBe(true);
  now += 199;
  expect(noteShort(1)).toBe(true);
  now += 1;
  expect(noteShort(1)).toBe(false);
  placement.noteDecisive(10);
  now += 200;
  expect(noteShort(1)).toBe(true);
  expect(noteShort(16)).toBe(false);
});

it('moves back after enough short calls', () => {
  const calls = [...Array(100).fill(true), ...Array(16).fill(false)];
  const states = placed(calls);
  expect(states.at(-2)).toBe(true);
  expect(states.at(-1)).toBe(false);
});

it('moves off the thread when short calls block it for half of a window, and back after twenty times as long', () => {
  let now = 1_000;
  const placement = new Placement(() => now);
  const block = (milliseconds: number, pauseMs = 0) => {
    now += milliseconds + pauseMs;
    placement.noteBlocked(milliseconds, 10);
    placement.note(false);
    return placement.offThread;
  };
  const states = Array.from({ length: 13 }, () => block(4));
  expect(states.indexOf(true)).toBe(12);
  for (let at = 0; at < 16; at++) placement.note(false);
  expect(placement.offThread).toBe(true);
  now += 20 * 52;
  placement.note(false);
  expect(placement.offThread).toBe(false);
});

it('stays on the thread while calls block it for less than half of each window, or take less than a twentieth of a slice', () => {
  let now = 1_000;
  const placement = new Placement(() => now);
  for (let at = 0; at < 1_000; at++) {
    now += 10;
    placement.noteBlocked(4, 10);
  }
  for (let at = 0; at < 1_000; at++) placement.noteBlocked(0.49, 10);
  expect(placement.offThread).toBe(false);
});
