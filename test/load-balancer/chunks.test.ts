import { describe, expect, it } from 'vitest';
import { Chunks } from '../../examples/load-balancer/chunks.ts';
import { collector } from '../support/collector.ts';

describe('Chunks', () => {
  it.each([0, 1, 2, 1_023, 1_024, 1_025, 5_000])('returns the bytes of %d chunks, once', (count) => {
    const chunks = new Chunks();
    const parts = Array.from({ length: count }, (_, i) => Buffer.from(`${i},`));
    for (const part of parts) chunks.add(part);
    const all = Buffer.concat(parts);
    expect(chunks.size).toBe(all.length);
    expect(chunks.take().equals(all)).toBe(true);
    expect(chunks.size).toBe(0);
    expect(chunks.take()).toHaveLength(0);
  });

  it('returns a single chunk without a copy', () => {
    const chunks = new Chunks();
    const chunk = Buffer.from('a');
    chunks.add(chunk);
    expect(chunks.take()).toBe(chunk);
  });

  it('takes little more memory than the bytes of small chunks', () => {
    const collect = collector();
    const chunks = new Chunks();
    const bytes = Buffer.alloc(500_000);
    collect();
    const { heapUsed } = process.memoryUsage();
    for (let i = 0; i < bytes.length; i++) chunks.add(bytes.subarray(i, i + 1));
    collect();
    expect(process.memoryUsage().heapUsed - heapUsed).toBeLessThan(10 * bytes.length);
    expect(chunks.take()).toHaveLength(bytes.length);
  });
});
