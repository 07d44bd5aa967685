/** A server that answers like the Anthropic API, complete or streamed, with a prompt cache and its usage. */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { listening } from '../listening.ts';

/** A request that an upstream received. */
export interface Received {
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
}

interface Message {
  readonly role: string;
  readonly content: string;
}
interface MessagesBody {
  readonly model: string;
  readonly stream?: boolean;
  readonly messages: readonly Message[];
}

const BYTES_PER_TOKEN = 4;

/** One upstream. */
export class Upstream {
  readonly name: string;
  /** In the order of arrival. */
  readonly received: Received[] = [];
  url = '';
  /** The duration of an answer in milliseconds. */
  thinkingMs = 1;
  readonly #cached = new Set<string>();
  readonly #server: Server;

  constructor(name: string) {
    this.name = name;
    this.#server = createServer((request, response) => void this.#answer(request, response));
  }

  async listen(): Promise<void> {
    this.url = await listening(this.#server);
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.received.push({ url: request.url ?? '', headers: request.headers });
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const body: MessagesBody = JSON.parse(Buffer.concat(chunks).toString());
    const usage = this.#usage(body);
    await delay(this.thinkingMs);
    response.setHeader('x-upstream', this.name);
    if (body.stream) await streamAnswer(response, body.model, usage);
    else response.writeHead(200, { 'content-type': 'application/json' }).end(wholeAnswer(body.model, usage));
  }

  /** Returns the longest cached prefix of messages, and caches the complete prompt. */
  #usage({ messages }: MessagesBody) {
    const prefixes = messages.map((_, index) => JSON.stringify(messages.slice(0, index + 1)));
    const digest = (text: string) => createHash('sha256').update(text).digest('base64');
    const tokens = (text: string) => Math.ceil(text.length / BYTES_PER_TOKEN);
    const read = tokens(prefixes.findLast((prefix) => this.#cached.has(digest(prefix))) ?? '');
    const whole = prefixes.at(-1) ?? '';
    this.#cached.add(digest(whole));
    return {
      input_tokens: 0,
      cache_read_input_tokens: read,
      cache_creation_input_tokens: tokens(whole) - read,
      output_tokens: 6,
    };
  }
}

const WORDS = ['Here ', 'is ', 'the ', 'answer', '.'];

function wholeAnswer(model: string, usage: object): string {
  const content = [{ type: 'text', text: WORDS.join('') }];
  return JSON.stringify({ type: 'message', role: 'assistant', model, content, stop_reason: 'end_turn', usage });
}

async function streamAnswer(response: ServerResponse, model: string, usage: object): Promise<void> {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  const send = (type: string, fields: object) =>
    response.write(`event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`);
  send('message_start', { message: { role: 'assistant', model, usage } });
  send('content_block_start', { index: 0, content_block: { type: 'text', text: '' } });
  send('ping', {});
  for (const text of WORDS) {
    await delay(5);
    send('content_block_delta', { index: 0, delta: { type: 'text_delta', text } });
  }
  send('ping', {});
  send('content_block_stop', { index: 0 });
  send('message_delta', { delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 6 } });
  send('message_stop', {});
  response.end();
}
