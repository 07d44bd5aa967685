const { use } = require('./use.cjs');

use(require('cc-lb-runtime-wasmtime'));
console.log('ok');
