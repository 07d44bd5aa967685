/** What a call threw, for tests that look at more than its message. */
import { expect } from 'vitest';

type Class<E> = abstract new (...args: never[]) => E;

/** The error of this class that `call` throws. Fails where it throws nothing or something else. */
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

/** The error of this class that the promise rejects with. */
export async function rejected<E extends Error>(type: Class<E>, promise: Promise<unknown>): Promise<E> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(type);
  return error as E;
}
