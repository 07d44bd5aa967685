/** `cc-lb-plugin admit`: inspects, compiles and probes a module as a load balancer does. */
import { admitWasmAsync } from '../admit-wasm.ts';
import { WasmtimeRuntime } from '../runtime.ts';
import { type Command, configOf, hookOf, OK, OPTIONS, readBytes } from './command.ts';
import { columns, json } from './output.ts';

export const admit: Command = {
  summary: 'inspect, compile and probe a module as a load balancer does',
  usage: ['admit <file.wasm> [--kind <hook>] [--config <config>] [--json]'],
  options: { kind: OPTIONS.kind, config: OPTIONS.config, json: OPTIONS.json },
  async run(values, io) {
    const bytes = readBytes(values.file);
    const runtime = new WasmtimeRuntime(configOf(values));
    try {
      const start = performance.now();
      const { metadata, contentHash } = await admitWasmAsync(runtime, bytes, hookOf(values, 'kind'));
      const ms = performance.now() - start;
      const hooks = Object.keys(metadata.hooks);
      if (values.flags.json) io.out(json({ admitted: true, metadata, contentHash, ms }));
      else {
        const name = `${metadata.name} ${metadata.version}`;
        io.out(
          columns([
            ['admitted', name],
            ['hooks', hooks.join(', ')],
            ['content hash', contentHash],
            ['took', `${ms.toFixed(1)} ms`],
          ]),
        );
      }
      return OK;
    } finally {
      runtime.close();
    }
  },
};
