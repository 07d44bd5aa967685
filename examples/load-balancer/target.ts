/** Validates request targets and joins them with base URLs. */
import type { Upstream } from './upstream.ts';

/** Segments with which a path could leave the base URL that it is appended to. */
const DOT_SEGMENTS = /(^|[/\\])(\.|%2e){2}([/\\]|$)/i;
/** A path and a query that a URL parser preserves, unless a segment starts with a dot. */
const PLAIN = /^\/[\w~!$&()*+,;=:@%./-]*(\?[\w~!$&()*+,;=:@%./?-]*)?$/;

/** Whether a request target is not a path, or contains dot segments. */
export function hasDotSegments(target: string): boolean {
  if (!target.startsWith('/')) return true;
  if (!target.includes('.') && !target.includes('%')) return false;
  const questionMark = target.indexOf('?');
  return DOT_SEGMENTS.test(questionMark < 0 ? target : target.slice(0, questionMark));
}

/** Returns the target below an upstream's base URL; null if this requires a URL parser. */
export function plainTarget({ basePath }: Upstream, target: string): string | null {
  return PLAIN.test(target) && !target.includes('/.') ? basePath + target : null;
}
