/** Plugins that are rejected, and plugins that fail. */
import { post, type Reply, turn } from './client.ts';
import { DEADLINE_MS, keyOf } from './config.ts';
import { claim, section } from './report.ts';
import type { Stage } from './stage.ts';

/** A module that imports a function `env.read_file`. */
const WITH_IMPORT = Buffer.from('0061736d0100000001040160000002110103656e7609726561645f66696c650000', 'hex');
/** Milliseconds by which an endless call may exceed its deadline on a busy machine. */
const LATENESS_MS = 400;

/** A module with an import is rejected, and the deployed plugins stay. */
export async function rejection(stage: Stage): Promise<void> {
  section('A module with an import, in the plugin folder');
  const { plugins: before } = await stage.status();
  stage.putBytes('spy', WITH_IMPORT);
  const rejected = await stage.until(async () =>
    (await stage.status()).rejections.find(({ plugin }) => plugin === 'spy'),
  );
  claim('rejected', /env\.read_file/.test(rejected.reason), rejected.reason);
  const { plugins: after } = await stage.status();
  const { status } = await post(stage.url, keyOf('team'), turn('tides', 1));
  claim('the deployed plugins stay', after.length === before.length && status === 200, `${status}`);
}

/** A trap under each policy, and a loop. */
export async function failures(stage: Stage): Promise<void> {
  section('Plugins that fail (filter misbehave)');
  const send = async (principal: string): Promise<{ reply: Reply; reason: string }> => {
    const began = stage.log.length;
    const reply = await post(stage.url, keyOf(principal), turn('tides', 1));
    const line = await stage.until(() => stage.log.slice(began).find(({ msg }) => msg === 'a filter failed'));
    return { reply, reason: line.reason ?? '' };
  };
  const lenient = await send('lenient');
  const passed = lenient.reply.status === 200 && lenient.reason.includes('unreachable');
  claim('trap under pass-through', passed, `${lenient.reply.status}`, lenient.reason);
  const strict = await send('strict');
  const { code } = JSON.parse(strict.reply.text).error;
  const closed = strict.reply.status === 503 && strict.reason.includes('unreachable') && code === 'plugin_failed';
  claim('trap under fail-closed', closed, `${strict.reply.status}`, code);
  const looping = await send('looping');
  const { ms, status } = looping.reply;
  const ended = status === 503 && looping.reason.includes('interrupt') && ms < DEADLINE_MS + LATENESS_MS;
  claim('endless loop', ended, `${status}`, `ended after ${ms.toFixed(0)} ms (deadline ${DEADLINE_MS} ms)`);
  const after = await post(stage.url, keyOf('team'), turn('tides', 1));
  claim('the next request', after.status === 200, `${after.status}`);
}
