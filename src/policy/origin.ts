import type { HotEngineConfig } from '../config.ts';

/** Whether a shape may send its request to another origin than that of the selected upstream. */
export type ShapeOriginPolicy = HotEngineConfig['shapeOriginPolicy'];

/**
 * Whether the policy allows a shaped request to be sent to `url`. Without a base URL there is nothing to compare with,
 * and the check is skipped.
 */
export function originAllowed(url: URL, baseUrl: URL | null, policy: ShapeOriginPolicy): boolean {
  return policy === 'unrestricted' || baseUrl === null || sameOrigin(url, baseUrl);
}

/** Whether scheme, host and port are equal. An opaque origin, which Node represents as `null`, equals no origin. */
export function sameOrigin(a: URL, b: URL): boolean {
  return a.origin !== 'null' && a.origin === b.origin;
}
