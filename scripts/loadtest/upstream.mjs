// The upstream of the load test, in a separate process: returns constant answers of the Anthropic and the OpenAI API at
// minimal cost.
import { createServer } from 'node:http';

const usage = { input_tokens: 900, output_tokens: 120, cache_read_input_tokens: 0, cache_creation_input_tokens: 0 };
const text = 'The answer of the upstream. '.repeat(24);
const message = Buffer.from(
  JSON.stringify({
    ...{ id: 'msg_1', type: 'message', role: 'assistant', model: 'claude-3-haiku-20240307', stop_reason: 'end_turn' },
    content: [{ type: 'text', text }],
    usage,
  }),
);
const completion = Buffer.from(
  JSON.stringify({
    ...{ id: 'c_1', object: 'chat.completion', created: 1_700_000_000, model: 'gpt-4o-mini' },
    choices: [{ index: 0, message: { role: 'assistant', content: text }, finish_reason: 'stop' }],
    usage: { prompt_tokens: 900, completion_tokens: 120, total_tokens: 1_020 },
  }),
);
const delta = (index) =>
  `event: content_block_delta\ndata: ${JSON.stringify({
    ...{ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: `word ${index} ` } },
  })}\n\n`;
const completionDelta = (index) =>
  `data: ${JSON.stringify({
    ...{ id: 'c_1', object: 'chat.completion.chunk', created: 1_700_000_000, model: 'gpt-4o-mini' },
    choices: [{ index: 0, delta: { content: `word ${index} ` }, finish_reason: null }],
  })}\n\n`;
const STREAM = /"stream":\s*true/;

const server = createServer((request, response) => {
  let isStream = false;
  const isOpenAi = request.url.includes('/chat/completions');
  request.once('data', (chunk) => {
    isStream = [chunk.subarray(0, 300), chunk.subarray(-300)].some((part) => STREAM.test(part.latin1Slice()));
  });
  request.on('data', () => {});
  request.on('end', () => {
    if (!isStream) {
      const answer = isOpenAi ? completion : message;
      response.writeHead(200, ['content-type', 'application/json', 'content-length', String(answer.length)]);
      response.end(answer);
      return;
    }
    stream(response, isOpenAi ? completionDelta : delta, request.headers['x-events'], request.headers['x-gap']);
  });
});

/** Sends `count` events, together or `gapMs` milliseconds apart. */
function stream(response, event, count = '40', gapMs = '0') {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.socket.setNoDelay(true);
  const end = () => response.end('data: [DONE]\n\n');
  if (gapMs === '0') {
    for (let index = 0; index < Number(count); index++) response.write(event(index));
    end();
    return;
  }
  let index = 0;
  const timer = setInterval(() => {
    if (index++ < Number(count)) response.write(event(index));
    else {
      clearInterval(timer);
      end();
    }
  }, Number(gapMs));
  response.on('close', () => clearInterval(timer));
}

server.listen(0, '127.0.0.1', () => process.send({ url: `http://127.0.0.1:${server.address().port}` }));
process.on('disconnect', () => process.exit(0));
