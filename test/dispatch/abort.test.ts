import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { onAbort, unlessAborted } from '../../src/dispatch/abort.ts';

const reason = new Error('enough');

it('unlessAborted returns the same promise without a signal', () => {
  const work = Promise.resolve(1);
  expect(unlessAborted(work, undefined)).toBe(work);
});

it('unlessAborted settles as the work does', async () => {
  const { signal } = new AbortController();
  expect(await unlessAborted(Promise.resolve(1), signal)).toBe(1);
  await expect(unlessAborted(Promise.reject(reason), signal)).rejects.toBe(reason);
});

it('unlessAborted rejects on abort and ignores the later result of the work', async () => {
  const controller = new AbortController();
  let fail: (error: Error) => void = () => {};
  const work = new Promise<never>((_, reject) => {
    fail = reject;
  });
  const waiting = unlessAborted(work, controller.signal);
  controller.abort(reason);
  await expect(waiting).rejects.toBe(reason);
  // The rejection is handled although nothing awaits it.
  fail(new Error('too late'));
  await new Promise(setImmediate);
});

describe('onAbort', () => {
  it('runs every callback once, except removed ones', () => {
    const controller = new AbortController();
    const ran: string[] = [];
    const callback = () => void ran.push('shared');
    onAbort(controller.signal, callback);
    onAbort(controller.signal, callback);
    const remove = onAbort(controller.signal, () => void ran.push('removed'));
    remove();
    remove();
    controller.abort();
    controller.abort();
    expect(ran).toEqual(['shared', 'shared']);
  });

  it('adds one listener to a signal and removes it with the last callback', () => {
    const { signal } = new AbortController();
    const removals = Array.from({ length: 20 }, () => onAbort(signal, () => {}));
    expect(getEventListeners(signal, 'abort')).toHaveLength(1);
    for (const remove of removals) remove();
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
    onAbort(signal, () => {});
    expect(getEventListeners(signal, 'abort')).toHaveLength(1);
  });

  it('lets a callback remove later ones', () => {
    const controller = new AbortController();
    const ran: string[] = [];
    onAbort(controller.signal, () => {
      ran.push('first');
      remove();
    });
    const remove = onAbort(controller.signal, () => void ran.push('second'));
    controller.abort();
    expect(ran).toEqual(['first']);
  });
});
