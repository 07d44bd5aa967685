/** The name of this package, and its version, which its addon has too. `npm run release` sets the version. */
export const PACKAGE = 'cc-lb-runtime-wasmtime';
export const VERSION = '0.1.0';
