import { fork } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { type Port, post, Remote } from '../../examples/load-balancer/ipc.ts';
import { until } from './support.ts';

/** Blocks the event loop until a process has ended and its end of the channel is closed. */
function awaitEnd(pid: number): void {
  while (!/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))) {
    // The event loop must not learn of the end.
  }
}

describe.runIf(process.platform === 'linux')('a message to a process that was killed', () => {
  it('rejects the call instead of ending this process, also before the end is known', async () => {
    const child = fork('-', [], { execArgv: ['-e', 'setInterval(() => {}, 1_000); process.send("ready")'] });
    let isReady = false;
    child.on('message', () => (isReady = true));
    await until(() => isReady);
    const errors: Error[] = [];
    child.on('error', (error) => errors.push(error));
    const remote = new Remote<{ report(argument: null): Promise<null> }>(child as unknown as Port);
    child.kill('SIGKILL');
    awaitEnd(child.pid!);
    expect(child.connected).toBe(true);
    post(child as unknown as Port, 'lost');
    await expect(remote.call('report', null, 60_000)).rejects.toMatchObject({ isLost: true });
    await until(() => !child.connected);
    await expect(remote.call('report', null, 60_000)).rejects.toMatchObject({ isLost: true });
    expect(errors).toEqual([]);
  });
});
