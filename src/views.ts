/** Checks of views that callers pass. */

const { values } = Uint8Array.prototype;

/**
 * Whether the view's buffer is detached, or was resized so that the view is out of bounds. Such a view has length 0,
 * and only an attempt to read it distinguishes it from an empty view.
 */
export function isOutOfBounds(view: Uint8Array): boolean {
  if (view.length > 0) return false;
  try {
    values.call(view);
    return false;
  } catch {
    return true;
  }
}
