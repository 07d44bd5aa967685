/** SseTransformer with a real plugin. */
import { readFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { WasmtimeUpstreamDialect } from '../../src/adapters/shape.ts';
import { ResponseTransformError } from '../../src/errors.ts';
import { WasmtimeRuntime } from '../../src/runtime.ts';
import { SlotKey } from '../../src/slot-key.ts';
import { type SseDialect, SseTransformer } from '../../src/sse/transformer.ts';
import type { TransformContext } from '../../src/types.ts';

const runtime = new WasmtimeRuntime({ deadlineMs: 2000 });
afterAll(() => runtime.close());

function dialectOf(name: string) {
  const wasm = readFileSync(new URL(`../plugins/wasm/${name}.wasm`, import.meta.url));
  return new WasmtimeUpstreamDialect(runtime, runtime.registerShape(SlotKey.global(name), name, wasm));
}
const context = (claims: Record<string, string>): TransformContext => ({
  requestId: 'r',
  principal: { id: 'p', kind: 'oauth_subject', claims },
  upstream: { kind: 'anthropic_direct', baseUrl: 'https://up.test' },
  requestMethod: 'POST',
  requestPath: '/v1/messages',
  canonicalModelId: 'claude',
  status: 200,
  headers: { 'content-type': 'text/event-stream' },
});
const stream =
  'event: message_start\ndata: {"type":"message_start"}\n\n: keep-alive\n\n' +
  'event: content_block_delta\r\ndata: {"text":"héllo"}\r\n\r\n' +
  'event: message_stop\ndata: {"type":"message_stop"}\n\n';
const dialect = dialectOf('transforms');

async function transform(
  claims: Record<string, string>,
  where: 'inline' | 'thread',
  plugin: SseDialect = dialect,
  input = stream,
) {
  const transformer = new SseTransformer(plugin, context(claims), { where });
  const bytes = Buffer.from(input);
  for (let at = 0; at < bytes.length; at += 7) transformer.write(bytes.subarray(at, at + 7));
  transformer.end();
  const chunks: Uint8Array[] = [];
  transformer.on('data', (chunk: Uint8Array) => chunks.push(chunk));
  await new Promise((resolve, reject) => transformer.on('close', resolve).on('error', reject));
  return { text: Buffer.concat(chunks).toString(), failure: transformer.failure };
}

describe.each(['inline', 'thread'] as const)('SseTransformer with a plugin, where %s', (where) => {
  it('copies a stream byte for byte when the plugin changes nothing', async () => {
    expect(await transform({}, where)).toEqual({ text: stream, failure: undefined });
    expect((await transform({ transform: 'upper' }, where, dialectOf('transforms-noop'))).text).toBe(stream);
  });

  it.each([
    ['drop', ''],
    ['no-events', ''],
    ['rename', 'event: renamed\ndata: {"text":"héllo"}\n\n'],
    ['no-name', 'data: {"text":"héllo"}\n\n'],
    ['repeat:2', 'event: content_block_delta\ndata: {"text":"héllo"}\n\n'.repeat(2)],
    ['lines', 'event: content_block_delta\ndata: one\ndata: two\ndata: three\ndata: four\ndata: \n\n'],
  ])('changes one kind of event: %s', async (change, expected) => {
    const original = 'event: content_block_delta\r\ndata: {"text":"héllo"}\r\n\r\n';
    const { text, failure } = await transform({ transform: change, event: 'content_block_delta' }, where);
    expect(text).toBe(stream.replace(original, expected));
    expect(failure).toBeUndefined();
  });

  it.each(['trap', 'name-with-line-break'])('copies the rest of an unchanged stream after %s', async (change) => {
    const { text, failure } = await transform({ transform: change, event: 'content_block_delta' }, where);
    expect(text).toBe(stream);
    expect(failure).toBeInstanceOf(ResponseTransformError);
  });

  it('copies the rest of an unchanged stream after an answer of more than 100,000 lines', async () => {
    const lines = `data: \n${'data\n'.repeat(10_000)}\n`;
    const { text, failure } = await transform({ transform: 'repeat:10' }, where, dialect, lines);
    expect(text).toBe(lines);
    expect(failure).toMatchObject({ message: 'the events of the answer have more than 100000 lines' });
  });

  it('ends a changed stream with an error event when it traps', async () => {
    const trapsAtTheEnd: SseDialect = {
      transformSseEventAsync(input, options) {
        const change = input.event.event === 'message_stop' ? 'trap' : 'upper';
        return dialect.transformSseEventAsync({ ...input, ...context({ transform: change }) }, options);
      },
    };
    const { text, failure } = await transform({}, where, trapsAtTheEnd);
    expect(text).toContain('data: {"TYPE":"MESSAGE_START"}\n\n: keep-alive\n\n');
    expect(
      text.endsWith(
        '\n\nevent: error\ndata: {"type":"error","error":{"type":"api_error","message":"the response could not be transformed"}}\n\n',
      ),
    ).toBe(true);
    expect(text).not.toContain('message_stop');
    expect(failure).toMatchObject({ kind: 'trap', cause: { code: 'CC_LB_GUEST_TRAP' } });
  });
});
