import { expect, it } from 'vitest';
import { unlessAborted } from '../../src/dispatch/abort.ts';

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
