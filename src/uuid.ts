import { Memo } from './memo.ts';

/** Canonical UUIDs: ids of upstreams are few and recur with every request. */
const KNOWN_UUIDS = 4096;
const known = new Memo<string, true>(KNOWN_UUIDS);
/** The canonical UUIDs of recent lists, by index: the next list often has the same ones. */
const RECENT_UUIDS = 64;
const recent: string[] = [];

const CANONICAL = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const SIMPLE = /^[0-9a-f]{32}$/;
const URN = 'urn:uuid:';

/**
 * Returns the UUID in lower case with hyphens; null if the text is not a UUID. Accepts, in any case, the forms of the
 * `uuid` crate: hyphenated, 32 bare digits, `{hyphenated}` and `urn:uuid:hyphenated`, but not braces around bare
 * digits.
 */
export function parseUuid(text: string): string | null {
  if (CANONICAL.test(text)) return text;
  switch (text.length) {
    case 32: {
      const digits = text.toLowerCase();
      return SIMPLE.test(digits)
        ? `${digits.slice(0, 8)}-${digits.slice(8, 12)}-${digits.slice(12, 16)}-${digits.slice(16, 20)}-${digits.slice(20)}`
        : null;
    }
    case 36:
      return hyphenated(text);
    case 38:
      return text.startsWith('{') && text.endsWith('}') ? hyphenated(text.slice(1, -1)) : null;
    case 45:
      return text.slice(0, URN.length).toLowerCase() === URN ? hyphenated(text.slice(URN.length)) : null;
    default:
      return null;
  }
}

/**
 * `parseUuid` for the id at this index of a list that recurs. Returns the same string if it is canonical. Any value but a
 * text is not a UUID.
 */
export function recurringUuid(value: unknown, index: number): string | null {
  if (typeof value !== 'string') return null;
  if (value === recent[index]) return value;
  const memoized = known.get(value) === true;
  const canonical = memoized ? value : parseUuid(value);
  if (canonical === null) return null;
  if (!memoized) known.set(canonical, true);
  if (index < RECENT_UUIDS) recent[index] = canonical;
  return canonical;
}

function hyphenated(text: string): string | null {
  const lower = text.toLowerCase();
  return CANONICAL.test(lower) ? lower : null;
}
