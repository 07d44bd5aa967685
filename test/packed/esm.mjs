import * as runtime from 'cc-lb-runtime-wasmtime';
import { use } from './use.cjs';

use(runtime);
console.log('ok');
