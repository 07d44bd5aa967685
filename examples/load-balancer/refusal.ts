/** Answers that the load balancer gives itself, in the form of the Anthropic API. */
import type { IncomingMessage, ServerResponse } from 'node:http';

/** A request that is answered with an error of the client's own making. */
export class Refusal {
  readonly status: number;
  /** The `type` of the error as the Anthropic API names it. */
  readonly type: string;
  readonly message: string;
  readonly retryAfterSeconds: number | undefined;

  constructor(status: number, type: string, message: string, retryAfterSeconds?: number) {
    this.status = status;
    this.type = type;
    this.message = message;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** Answers with a refusal. A request that was not read to its end is the last one of its connection. */
export function sendRefusal(request: IncomingMessage, response: ServerResponse, refusal: Refusal): void {
  const { status, type, message, retryAfterSeconds } = refusal;
  const headers: Record<string, string> = { 'content-type': 'application/json' };
  if (!request.complete) headers.connection = 'close';
  if (retryAfterSeconds !== undefined) headers['retry-after'] = String(retryAfterSeconds);
  response.writeHead(status, headers).end(JSON.stringify({ type: 'error', error: { type, message } }));
}
