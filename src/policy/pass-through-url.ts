import { InvalidArgumentError } from '../errors.ts';

/**
 * Where a request goes that is passed through unshaped: the upstream's base URL + path + query. `null` where there is no
 * base URL, or where the client's path would leave the base URL by `..` segments.
 * @throws InvalidArgumentError where the base URL is none, or the path or the query is no string
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
  if (typeof path !== 'string') throw new InvalidArgumentError('path', 'expected a string');
  if (query !== null && typeof query !== 'string') throw new InvalidArgumentError('query', 'expected a string');
  // The setters encode what would begin a query or a fragment, so that the path stays a path.
  url.pathname = below + path.replace(/^\//, '');
  url.search = query === null ? '' : `?${query}`;
  url.hash = '';
  return url.pathname.startsWith(below) ? url : null;
}
