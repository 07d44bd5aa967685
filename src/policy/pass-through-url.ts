import { InvalidArgumentError } from '../errors.ts';
import { checkString } from '../validate.ts';

/**
 * Returns the URL of a request that is passed through without a shape: the upstream's base URL, path and query. Returns
 * null without a base URL, or if `..` segments in the client's path leave the base URL.
 * @throws InvalidArgumentError if the base URL is not an absolute URL, or the path or the query is not a string
 */
export function passThroughUrl(baseUrl: string | URL | null, path: string, query: string | null): URL | null {
  if (baseUrl === null) return null;
  let url: URL;
  try {
    url = new URL(baseUrl);
  } catch (cause) {
    throw new InvalidArgumentError('upstream.baseUrl', 'expected an absolute URL', { cause });
  }
  const below = url.pathname.endsWith('/') ? url.pathname : `${url.pathname}/`;
  checkString(path, 'path');
  if (query !== null) checkString(query, 'query');
  // The setters encode characters that would start a query or a fragment.
  url.pathname = below + path.replace(/^\//, '');
  url.search = query === null ? '' : `?${query}`;
  url.hash = '';
  return url.pathname.startsWith(below) ? url : null;
}
