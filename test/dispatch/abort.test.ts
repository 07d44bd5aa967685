import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { onAbort, unlessAborted } from '../../src/dispatch/abort.ts';

const reason = new Error('enough');

it('is the work itself where there is no signal', () => {
  const work = Promise.resolve(1);
  expect(unlessAborted(work, undefined)).toBe(work);
});

it('comes to what the work comes to', async () => {
  const { signal } = new AbortController();
  expect(await unlessAborted(Promise.resolve(1), signal)).toBe(1);
  await expect(unlessAborted(Promise.reject(reason), signal)).rejects.toBe(reason);
});

it('ends with the signal, and the work goes on unheeded', async () => {
  const controller = new AbortController();
  let fail: (error: Error) => void = () => {};
  const work = new Promise<never>((_, reject) => {
    fail = reject;
  });
  const waiting = unlessAborted(work, controller.signal);
  controller.abort(reason);
  await expect(waiting).rejects.toBe(reason);
  // Nobody waits for it any more: this is no unhandled rejection.
  fail(new Error('too late'));
  await new Promise(setImmediate);
});

describe('onAbort', () => {
  it('runs every callback once, and none that was removed', () => {
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

  it('adds one listener to a signal, and leaves none behind', () => {
    const { signal } = new AbortController();
    const removals = Array.from({ length: 20 }, () => onAbort(signal, () => {}));
    expect(getEventListeners(signal, 'abort')).toHaveLength(1);
    for (const remove of removals) remove();
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
    onAbort(signal, () => {});
    expect(getEventListeners(signal, 'abort')).toHaveLength(1);
  });

  it('lets a callback remove the ones after it', () => {
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
