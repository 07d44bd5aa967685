import { Worker } from 'node:worker_threads';

// Two Workers at the same time, and one after they have ended.
const run = () =>
  new Promise((resolve, reject) => {
    new Worker(new URL('esm.mjs', import.meta.url)).once('error', reject).once('exit', resolve);
  });
const codes = [...(await Promise.all([run(), run()])), await run()];
if (codes.some((code) => code !== 0)) throw new Error(`exit codes ${codes.join()}`);
