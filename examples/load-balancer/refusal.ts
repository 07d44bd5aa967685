/** Error responses of the load balancer, in the form of the Anthropic API. */
import type { IncomingMessage, ServerResponse } from 'node:http';

/** A request that the load balancer answers with an error. */
export class Refusal {
  readonly status: number;
  /** The `type` of the error in the Anthropic API. */
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

/**
 * Sends a refusal. Node discards the rest of the request, so that a client that reads only after its upload receives the
 * answer. The connection is closed if the client may omit the body, because it waited for `100 Continue`.
 */
export function sendRefusal(request: IncomingMessage, response: ServerResponse, refusal: Refusal): void {
  const { status, type, message, retryAfterSeconds } = refusal;
  const headers: Record<string, string> = { 'content-type': 'application/json' };
  if (!request.complete && request.headers.expect !== undefined) headers.connection = 'close';
  if (retryAfterSeconds !== undefined) headers['retry-after'] = String(retryAfterSeconds);
  response.writeHead(status, headers).end(JSON.stringify({ type: 'error', error: { type, message } }));
}
