/** Validates and splits request targets, and joins them with base URLs. */
import type { Upstream } from './upstream.ts';

/** Segments with which a path could leave the base URL that it is appended to. */
const DOT_SEGMENTS = /(^|[/\\])(\.|%2e){2}([/\\]|$)/i;
/** A path and a query that a URL parser preserves, unless a segment starts with a dot. */
const PLAIN = /^\/[\w~!$&()*+,;=:@%./-]*(\?[\w~!$&()*+,;=:@%./?-]*)?$/;

/** Splits a request target; a target without `?` has no query. */
export function splitTarget(target: string): { readonly path: string; readonly query: string | null } {
  const questionMark = target.indexOf('?');
  if (questionMark < 0) return { path: target, query: null };
  return { path: target.slice(0, questionMark), query: target.slice(questionMark + 1) };
}

/** Returns why a request with this target is refused; null for a path that stays below a base URL. */
export function targetProblem(target: string): string | null {
  if (target.startsWith('/')) {
    if (!target.includes('.') && !target.includes('%')) return null;
    if (!DOT_SEGMENTS.test(splitTarget(target).path)) return null;
  }
  return 'the target must be a path without dot segments';
}

/** Returns the target below an upstream's base URL; null if this requires a URL parser. */
export function plainTarget({ basePath }: Upstream, target: string): string | null {
  return PLAIN.test(target) && !target.includes('/.') ? basePath + target : null;
}
