// The reference of the load test: a proxy with node:http and undici that only forwards.
import { createServer } from 'node:http';
import { Pool } from 'undici';

const pool = new Pool(process.argv[2]);

const server = createServer(async (request, response) => {
  try {
    const { host: _, connection: __, ...headers } = request.headers;
    const {
      statusCode,
      headers: answered,
      body,
    } = await pool.request({
      path: request.url,
      method: request.method,
      headers,
      body: request,
    });
    delete answered.connection;
    delete answered['keep-alive'];
    delete answered['transfer-encoding'];
    response.writeHead(statusCode, answered);
    body.pipe(response);
  } catch {
    response.writeHead(502).end();
  }
});

server.listen(0, '127.0.0.1', () => process.send({ url: `http://127.0.0.1:${server.address().port}` }));
process.on('disconnect', () => process.exit(0));
