/** Plugins that may not come in, and plugins that fail. */
import { GuestTrapError, ModuleRejectedError } from 'cc-lb-runtime-wasmtime';
import { post, type Reply, turn } from './client.ts';
import { claim, section } from './report.ts';
import { DEADLINE_MS, keyOf, routesOf } from './routes.ts';
import type { Stage } from './stage.ts';

/** A module that asks its host for a function `env.read_file`. */
const WITH_IMPORT = Buffer.from('0061736d0100000001040160000002110103656e7609726561645f66696c650000', 'hex');
/** How late the end of a loop may be on a busy machine, in milliseconds. */
const LATENESS_MS = 400;

/** A module that wants something of its host is refused, and what was served goes on being served. */
export async function refusal({ balancer, url, upstreams, wasm }: Stage): Promise<void> {
  section('A module with an import');
  const routes = routesOf(upstreams, wasm);
  const before = balancer.view;
  const plugins = [...routes.plugins, { kind: 'filter', name: 'spy', bytes: WITH_IMPORT } as const];
  const refused: unknown = await balancer.publish({ ...routes, plugins }).catch((reason: unknown) => reason);
  const error = (refused as Error).cause;
  claim('refused', error instanceof ModuleRejectedError, (error as ModuleRejectedError).code);
  claim('reason', /env\.read_file/.test(String(error)), (error as ModuleRejectedError).reason);
  const { status } = await post(url, keyOf('team'), turn('tides', 1));
  claim('the old plugins serve on', balancer.view === before && status === 200, `${status}`);
}

/** A trap under each policy, and a loop. */
export async function failures({ url, log }: Stage): Promise<void> {
  section('Plugins that fail (filter misbehave)');
  const send = async (principal: string): Promise<{ reply: Reply; trap: GuestTrapError | undefined }> => {
    const begun = log.length;
    const reply = await post(url, keyOf(principal), turn('tides', 1));
    const causes = log.slice(begun).map(({ error }) => (error as Error).cause);
    return { reply, trap: causes.find((cause) => cause instanceof GuestTrapError) };
  };
  const lenient = await send('lenient');
  const passed = lenient.reply.status === 200 && lenient.trap?.trap === 'unreachable-code-reached';
  claim(
    'trap under pass-through',
    passed,
    `${lenient.reply.status}`,
    `${lenient.trap?.trap} in ${lenient.trap?.phase}`,
  );
  const strict = await send('strict');
  const { code } = JSON.parse(strict.reply.text).error;
  const closed =
    strict.reply.status === 503 && strict.trap?.trap === 'unreachable-code-reached' && code === 'plugin_failed';
  claim('trap under fail-closed', closed, `${strict.reply.status}`, code);
  const looping = await send('looping');
  const { ms, status } = looping.reply;
  const ended = status === 503 && looping.trap?.trap === 'interrupt' && ms < DEADLINE_MS + LATENESS_MS;
  claim('endless loop', ended, `${status}`, `ended after ${ms.toFixed(0)} ms (deadline ${DEADLINE_MS} ms)`);
  const after = await post(url, keyOf('team'), turn('tides', 1));
  claim('the next request', after.status === 200, `${after.status}`);
}
