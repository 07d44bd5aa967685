import type { HotEngineConfig } from '../config.ts';
import { quoted } from '../printable.ts';

/** Whether a shape may send its request to another origin than that of the selected upstream. */
export type ShapeOriginPolicy = HotEngineConfig['shapeOriginPolicy'];

/**
 * Returns why the policy forbids sending a shaped request to `url`; null if it allows it. Scheme, host and port must be
 * those of the base URL. User information, which HTTP clients send as `authorization`, must be absent or that of the
 * base URL. Without a base URL there is nothing to compare with, and the check is skipped.
 */
export function originProblem(url: URL, baseUrl: URL | null, policy: ShapeOriginPolicy): string | null {
  if (policy === 'unrestricted' || baseUrl === null) return null;
  // Node represents an opaque origin, which equals no origin, as `null`.
  if (url.origin === 'null' || url.origin !== baseUrl.origin) {
    return `the answer's URL has origin ${quoted(url.origin)}, the selected upstream has ${quoted(baseUrl.origin)}`;
  }
  // The origin of a `blob:` URL is that of the URL in it.
  if (url.protocol !== baseUrl.protocol) {
    return `the answer's URL has scheme ${quoted(url.protocol)}, the selected upstream has ${quoted(baseUrl.protocol)}`;
  }
  if (hasUserInfo(url) && (url.username !== baseUrl.username || url.password !== baseUrl.password)) {
    return "the answer's URL has a user name or a password that is not that of the selected upstream";
  }
  return null;
}

function hasUserInfo({ username, password }: URL): boolean {
  return username !== '' || password !== '';
}
