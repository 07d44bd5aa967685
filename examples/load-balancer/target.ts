/** Validates and splits request targets, and joins them with base URLs. */
import type { Upstream } from './upstream.ts';

/** Segments with which a path could leave the base URL that it is appended to. */
const DOT_SEGMENTS = /(^|[/\\])(\.|%2e){2}([/\\]|$)/i;
/** A path and a query that a URL parser preserves, unless a segment starts with a dot. */
const PLAIN = /^\/[\w~!$&()*+,;=:@%./-]*(\?[\w~!$&()*+,;=:@%./?-]*)?$/;

/** Why a request is refused whose target has dot segments. */
export const TARGET_PROBLEM = 'the target must be a path without dot segments';

/** Splits a request target; a target without `?` has no query. */
export function splitTarget(target: string): { readonly path: string; readonly query: string | null } {
  const questionMark = target.indexOf('?');
  if (questionMark < 0) return { path: target, query: null };
  return { path: target.slice(0, questionMark), query: target.slice(questionMark + 1) };
}

/** Whether a request target is not a path, or contains dot segments. */
export function hasDotSegments(target: string): boolean {
  if (!target.startsWith('/')) return true;
  if (!target.includes('.') && !target.includes('%')) return false;
  return DOT_SEGMENTS.test(splitTarget(target).path);
}

/** Returns the target below an upstream's base URL; null if this requires a URL parser. */
export function plainTarget({ basePath }: Upstream, target: string): string | null {
  return PLAIN.test(target) && !target.includes('/.') ? basePath + target : null;
}
