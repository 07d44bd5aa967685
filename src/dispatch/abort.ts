/** Waiting that a signal can end. The work itself goes on. */

/**
 * What to run when a signal aborts. However many calls share a signal, it gets one listener, because Node warns of a leak
 * at more than ten; without calls it gets none, so that a signal of `AbortSignal.timeout` can be collected.
 */
const callbacks = new WeakMap<AbortSignal, Map<object, () => void>>();

/** Runs `callback` once if `signal` aborts, until the function that is returned is called. */
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

/** What `work` comes to, or a rejection with `signal.reason` as soon as the signal aborts. */
export function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  return new Promise<T>((resolve, reject) => {
    const remove = onAbort(signal, () => reject(signal.reason));
    work.then(resolve, reject).finally(remove);
  });
}
