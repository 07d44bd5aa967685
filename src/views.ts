/** Views of memory that callers hand in. */

const { values } = Uint8Array.prototype;

/**
 * Whether the view's memory is gone: its buffer was detached, or shrank away under it. Such a view has length 0, and
 * nothing but an attempt to read it tells it from an empty one.
 */
export function isGone(view: Uint8Array): boolean {
  if (view.length > 0) return false;
  try {
    values.call(view);
    return false;
  } catch {
    return true;
  }
}
