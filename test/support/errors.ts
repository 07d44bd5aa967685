/** Helpers that return the error of a failed call, for tests that check more than its message. */
import { expect } from 'vitest';

type Class<E> = abstract new (...args: never[]) => E;

/** Returns the error of class `type` that `call` throws. Fails if `call` returns or throws another error. */
export function thrown<E extends Error>(type: Class<E>, call: () => unknown): E {
  let error: unknown;
  try {
    call();
  } catch (caught) {
    error = caught;
  }
  expect(error).toBeInstanceOf(type);
  return error as E;
}

/** Returns the error of class `type` that the promise rejects with. Fails if it resolves or rejects with another error. */
export async function rejected<E extends Error>(type: Class<E>, promise: Promise<unknown>): Promise<E> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(type);
  return error as E;
}
