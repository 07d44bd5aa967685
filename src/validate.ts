/** Checks of arguments. Objects of options are parsed by their own schemas instead. */
import { isSharedArrayBuffer, isUint8Array } from 'node:util/types';
import type * as z from 'zod';
import { InvalidArgumentError } from './errors.ts';
import { isOutOfBounds } from './views.ts';

/** Throws an InvalidArgumentError unless `value` is an object. */
export function checkObject(value: unknown, path: string): asserts value is object {
  if (typeof value !== 'object' || value === null) throw new InvalidArgumentError(path, 'expected an object');
}

/** Throws an InvalidArgumentError unless `value` is a string. */
export function checkString(value: unknown, path: string): asserts value is string {
  if (typeof value !== 'string') throw new InvalidArgumentError(path, 'expected a string');
}

/** Throws an InvalidArgumentError unless `value` is an array. */
export function checkArray(value: unknown, path: string): asserts value is readonly unknown[] {
  if (!Array.isArray(value)) throw new InvalidArgumentError(path, 'expected an array');
}

/** Throws an InvalidArgumentError unless `value` is a Uint8Array whose buffer is neither detached nor shared. */
export function checkBytes(value: unknown, path: string): asserts value is Uint8Array {
  if (!isUint8Array(value)) throw new InvalidArgumentError(path, 'expected a Uint8Array');
  if (isSharedArrayBuffer(value.buffer)) {
    throw new InvalidArgumentError(
      path,
      'expected a Uint8Array that is not over a SharedArrayBuffer, whose bytes may change during the call',
    );
  }
  if (isOutOfBounds(value))
    throw new InvalidArgumentError(path, 'the buffer of the Uint8Array is detached or has shrunk');
}

/** Throws an InvalidArgumentError unless `value` is an AbortSignal or absent. */
export function checkSignal(value: unknown): asserts value is AbortSignal | undefined {
  if (value !== undefined && !(value instanceof AbortSignal)) {
    throw new InvalidArgumentError('options.signal', 'expected an AbortSignal');
  }
}

/** The start of a message of zod, which this package's own messages do not have. */
const ZOD_TITLE = /^(?:Invalid input|Invalid option|Too small|Too big): /;

/** Parses a caller's options; the first issue becomes an InvalidArgumentError whose path begins with `name`. */
export function parseArgument<T>(schema: z.ZodType<T>, input: unknown, name: string): T {
  const result = schema.safeParse(input);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  const unknown = issue.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : [];
  const path = [name, ...issue.path.map(String), ...unknown].join('.');
  const expectation = unknown.length > 0 ? 'unknown field' : issue.message.replace(ZOD_TITLE, '');
  throw new InvalidArgumentError(path, expectation, { cause: result.error });
}
