import { use } from './use.cjs';

const started = performance.now();
const runtime = await import('cc-lb-runtime-wasmtime');
const imported = performance.now();
use(runtime);
const called = performance.now();
console.log(JSON.stringify({ importMs: imported - started, firstCallMs: called - imported }));
