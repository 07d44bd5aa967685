/** Formats decoded values as the oracle does: see test/oracle/src/wire.rs. */

const bits = new DataView(new ArrayBuffer(8));

function replace(key: string, value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.length).toString('hex');
  if (typeof value === 'bigint') return `${value}n`;
  if (key !== 'planCapacityRatio' || typeof value !== 'number') return value;
  if (Number.isNaN(value)) return 'NaN';
  bits.setFloat64(0, value);
  return bits.getBigUint64(0).toString(16).padStart(16, '0');
}

/** The fields of the exchange, which the wire crates declare in each request. */
function flattened(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || !('exchange' in value)) return value;
  const { exchange, ...rest } = value;
  return { ...(exchange as object), ...rest };
}

/** Canonical JSON of a decoded value. */
export const canonical = (value: unknown): string => JSON.stringify(flattened(value), replace);
