/** Promises that an AbortSignal can reject, while the underlying work continues. */

/**
 * The callbacks of each signal. All calls that share a signal use one listener, because Node warns of a leak at more
 * than ten. Without calls a signal has no listener, so that a signal of `AbortSignal.timeout` can be collected.
 */
const callbacks = new WeakMap<AbortSignal, Map<object, () => void>>();

/** Runs `callback` once if `signal` aborts. The returned function removes the callback. */
export function onAbort(signal: AbortSignal, callback: () => void): () => void {
  let entries = callbacks.get(signal);
  if (entries === undefined) {
    entries = new Map();
    callbacks.set(signal, entries);
    signal.addEventListener('abort', runCallbacks, { once: true });
  }
  const key = {};
  entries.set(key, callback);
  return () => {
    if (!entries.delete(key) || entries.size > 0 || callbacks.get(signal) !== entries) return;
    callbacks.delete(signal);
    signal.removeEventListener('abort', runCallbacks);
  };
}

function runCallbacks(event: Event): void {
  const signal = event.currentTarget as AbortSignal;
  const entries = callbacks.get(signal);
  callbacks.delete(signal);
  for (const callback of entries?.values() ?? []) callback();
}

/** Settles as `work` does, or rejects with `signal.reason` when the signal aborts first. */
export function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  return new Promise<T>((resolve, reject) => {
    const remove = onAbort(signal, () => reject(signal.reason));
    work.then(resolve, reject).finally(remove);
  });
}

/** Whether the call failed because it was aborted. The reason may be any value, including an error of this package. */
export function isAbort(error: unknown, signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true && error === signal.reason;
}
