/** Request targets: which are refused, and which go on as they are. */
import type { Upstream } from './upstream.ts';

/** Segments by which a path would leave the base URL that it is appended to. */
const DOT_SEGMENTS = /(^|[/\\])(\.|%2e){2}([/\\]|$)/i;
/** A path and a query that a URL parser gives back as they are, unless a segment begins with a dot. */
const PLAIN = /^\/[\w~!$&()*+,;=:@%./-]*(\?[\w~!$&()*+,;=:@%./?-]*)?$/;

/** Whether a request's target is anything but a path that stays where it is. */
export function hasDotSegments(target: string): boolean {
  if (!target.startsWith('/')) return true;
  if (!target.includes('.') && !target.includes('%')) return false;
  const questionMark = target.indexOf('?');
  return DOT_SEGMENTS.test(questionMark < 0 ? target : target.slice(0, questionMark));
}

/** The target below an upstream's base URL; null where it takes a URL parser to say. */
export function plainTarget({ basePath }: Upstream, target: string): string | null {
  return PLAIN.test(target) && !target.includes('/.') ? basePath + target : null;
}
