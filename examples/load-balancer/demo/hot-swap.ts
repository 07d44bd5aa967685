/** Swaps plugins in the folder while requests are in flight. */
import { post, turn } from './client.ts';
import { keyOf } from './config.ts';
import { claim, section } from './report.ts';
import type { Stage } from './stage.ts';

const REQUESTS = 600;
const CLIENTS = 16;
const SWAPS = 10;
const VERSIONS = ['cache-aware-v2', 'cache-aware'] as const;

/** Swaps the filter repeatedly under load. Every request must be answered. */
export async function hotSwap(stage: Stage): Promise<void> {
  section('Hot swap (cache-aware ⇄ cache-aware-v2)');
  const served = async () => (await stage.status()).plugins.find(({ plugin }) => plugin === 'cache-aware')!;
  const swap = async (guest: string) => {
    const { contentHash } = await served();
    stage.put('cache-aware', guest);
    return stage.until(async () => {
      const now = await served();
      return now.contentHash !== contentHash && now;
    });
  };
  const first = await served();
  const second = await swap('cache-aware-v2');
  claim('new version in every worker', second.version !== first.version, `${first.version} → ${second.version}`);
  await swap('cache-aware');

  let sent = 0;
  let swapped = 0;
  let inFlightAtSwap = 0;
  let open = 0;
  const statuses: number[] = [];
  const client = async () => {
    while (sent < REQUESTS || swapped < SWAPS) {
      const body = turn(`topic ${sent++ % 7}`, 1);
      open++;
      statuses.push((await post(stage.url, keyOf('team'), body)).status);
      open--;
    }
  };
  const swapper = async () => {
    for (; swapped < SWAPS; swapped++) {
      inFlightAtSwap += open;
      await swap(VERSIONS[swapped % 2]!);
    }
  };
  await Promise.all([swapper(), ...Array.from({ length: CLIENTS }, client)]);
  const ok = statuses.filter((status) => status === 200).length;
  claim('swaps under load', swapped === SWAPS && inFlightAtSwap >= SWAPS - 1, `${SWAPS}, with requests in flight`);
  claim('requests', ok === statuses.length, `${statuses.length} sent, ${statuses.length - ok} failed`);
}
