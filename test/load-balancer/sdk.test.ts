import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';
import { describe, expect, it } from 'vitest';
import { loadBalancer, plugin, principal, routes, until, upstream } from './support.ts';

const model = 'claude-3-haiku-20240307';
const messages = [{ role: 'user' as const, content: 'Hello' }];
const usage = { input_tokens: 3, output_tokens: 2, cache_read_input_tokens: 1, cache_creation_input_tokens: 0 };
const message = { id: 'msg_1', type: 'message', role: 'assistant', model, stop_reason: 'end_turn', usage };
const EVERYTHING = {
  plugins: [plugin('filter', 'cache-aware'), plugin('shape', 'transforms'), plugin('observe', 'lifecycle')],
  principals: [principal('me', { keep: 1, transform: 'drop', event: 'ping' })],
};

/** An upstream that speaks as much of both APIs as the SDKs ask for. */
function provider() {
  return upstream((_, response, body) => {
    const { stream, max_tokens } = JSON.parse(body);
    // A shape may have changed the path; only Anthropic's API requires a limit.
    const isOpenAi = max_tokens === undefined;
    const json = (content: object) =>
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(content));
    if (isOpenAi && !stream) {
      const choices = [{ index: 0, message: { role: 'assistant', content: 'Hi' }, finish_reason: 'stop' }];
      return json({ id: 'c_1', object: 'chat.completion', created: 0, model, choices });
    }
    if (!stream) return json({ ...message, content: [{ type: 'text', text: 'Hi' }] });
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    if (isOpenAi) {
      for (const content of ['H', 'i']) {
        const choices = [{ index: 0, delta: { content }, finish_reason: null }];
        response.write(
          `data: ${JSON.stringify({ id: 'c_1', object: 'chat.completion.chunk', created: 0, model, choices })}\n\n`,
        );
      }
      return response.end('data: [DONE]\n\n');
    }
    const send = (type: string, fields: object) =>
      response.write(`event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`);
    send('message_start', { message: { ...message, content: [], stop_reason: null } });
    send('content_block_start', { index: 0, content_block: { type: 'text', text: '' } });
    send('ping', {});
    for (const text of ['H', 'i']) send('content_block_delta', { index: 0, delta: { type: 'text_delta', text } });
    send('content_block_stop', { index: 0 });
    send('message_delta', { delta: { stop_reason: 'end_turn', stop_sequence: null }, usage: { output_tokens: 2 } });
    send('message_stop', {});
    return response.end();
  });
}

describe.each([
  ['without plugins', {}],
  ['with filter, shape, transforms and observer', EVERYTHING],
])("the official SDKs' requests, %s,", (_, rest) => {
  async function clients() {
    const server = await provider();
    const balancer = await loadBalancer(routes([server], rest));
    const anthropic = new Anthropic({ apiKey: 'me', baseURL: balancer.url, maxRetries: 0 });
    const openai = new OpenAI({ apiKey: 'me', baseURL: `${balancer.url}/v1`, maxRetries: 0 });
    return { ...balancer, server, anthropic, openai };
  }

  it('get a message of Anthropic', async () => {
    const { anthropic, server, events } = await clients();
    const answer = await anthropic.messages.create({ model, max_tokens: 8, messages });
    expect(answer.content).toEqual([{ type: 'text', text: 'Hi' }]);
    expect(answer.usage).toMatchObject(usage);
    expect(server.received[0]!.request.headers).not.toHaveProperty('x-api-key');
    await until(() => events.at(-1)?.type === 'request_finished');
    expect(events.at(-1)).toMatchObject({ inputTokens: 3, outputTokens: 2, cacheReadInputTokens: 1 });
  });

  it('get a stream of Anthropic', async () => {
    const { anthropic } = await clients();
    const stream = anthropic.messages.stream({ model, max_tokens: 8, messages });
    const texts: string[] = [];
    stream.on('text', (text) => texts.push(text));
    const answer = await stream.finalMessage();
    expect(texts).toEqual(['H', 'i']);
    expect(answer).toMatchObject({ content: [{ text: 'Hi' }], stop_reason: 'end_turn', usage: { output_tokens: 2 } });
  });

  it('get a completion of OpenAI', async () => {
    const { openai, server } = await clients();
    const answer = await openai.chat.completions.create({ model, messages });
    expect(answer.choices[0]!.message.content).toBe('Hi');
    expect(server.received[0]!.request.headers).not.toHaveProperty('authorization');
  });

  it('get a stream of OpenAI', async () => {
    const { openai } = await clients();
    let text = '';
    for await (const chunk of await openai.chat.completions.create({ model, messages, stream: true })) {
      text += chunk.choices[0]?.delta.content ?? '';
    }
    expect(text).toBe('Hi');
  });

  it('get an error of their own kind for a wrong key', async () => {
    const { url } = await clients();
    const stranger = new Anthropic({ apiKey: 'stranger', baseURL: url, maxRetries: 0 });
    const failure = await stranger.messages.create({ model, max_tokens: 8, messages }).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(Anthropic.AuthenticationError);
  });

  it('can be aborted', async () => {
    const { anthropic, balancer, server } = await clients();
    const controller = new AbortController();
    const sent = anthropic.messages.create({ model, max_tokens: 8, messages }, { signal: controller.signal });
    sent.catch(() => {});
    controller.abort();
    await expect(sent).rejects.toThrow(Anthropic.APIUserAbortError);
    await until(() => balancer.requestsInFlight === 0);
    expect(server.received.length).toBeLessThanOrEqual(1);
  });
});
