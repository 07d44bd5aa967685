/** Sends requests to the load balancer as a client of the API does. */
import { request } from 'undici';

/** A complete answer. */
export interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  readonly ms: number;
}

/** Returns the request of a conversation's turn, with the previous messages. */
export function turn(topic: string, questions: number) {
  const context = `${topic}. `.repeat(400);
  const messages = [{ role: 'user', content: `${context} Question 1?` }];
  for (let i = 2; i <= questions; i++) {
    messages.push({ role: 'assistant', content: 'Here is the answer.' }, { role: 'user', content: `Question ${i}?` });
  }
  return { model: 'claude-3-haiku-20240307', max_tokens: 64, messages };
}

/** Posts a body as the principal with this key. */
export async function post(base: string, key: string, body: object): Promise<Reply> {
  const begun = performance.now();
  const answer = await request(`${base}/v1/messages?beta=true`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-api-key': key, cookie: 'session=1', 'user-agent': 'demo/1' },
    body: JSON.stringify(body),
  });
  const text = await answer.body.text();
  return { status: answer.statusCode, headers: answer.headers, text, ms: performance.now() - begun };
}
