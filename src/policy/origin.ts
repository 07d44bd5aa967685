/** Whether a shape may send its request to another origin than the selected upstream's. */
export type ShapeOriginPolicy = 'unrestricted' | 'selected-upstream-origin';

/**
 * Whether the policy lets a shaped request go to `url`. Without a base URL there is nothing to compare with and the
 * check is skipped.
 */
export function originAllowed(url: URL, baseUrl: URL | null, policy: ShapeOriginPolicy): boolean {
  return policy === 'unrestricted' || baseUrl === null || sameOrigin(url, baseUrl);
}

/** Whether scheme, host and port agree. An opaque origin equals none, itself included; Node spells each of them `null`. */
export function sameOrigin(a: URL, b: URL): boolean {
  return a.origin !== 'null' && a.origin === b.origin;
}
