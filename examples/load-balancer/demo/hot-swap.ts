/** Plugins are swapped while requests are in flight. */
import { SlotKey } from 'cc-lb-runtime-wasmtime';
import type { View } from '../view.ts';
import { post, turn } from './client.ts';
import { claim, section } from './report.ts';
import { keyOf, routesOf } from './routes.ts';
import type { Stage } from './stage.ts';

const REQUESTS = 600;
const CLIENTS = 16;
const SWAPS = 10;
const VERSIONS = ['cache-aware-v2', 'cache-aware'] as const;

/** Swaps the filter again and again under load; every request must be answered. */
export async function hotSwap({ balancer, url, upstreams, wasm }: Stage): Promise<void> {
  section('Hot swap (cache-aware ⇄ cache-aware-v2)');
  const publish = (version: (typeof VERSIONS)[number]) => balancer.publish(routesOf(upstreams, wasm, version));
  const slot = balancer.runtime.getSlot(SlotKey.global('cache-aware'))!;
  const before = balancer.view;
  const first = slot.current;
  await publish('cache-aware-v2');
  const second = slot.current;
  const versions = `${first.metadata.version} → ${second.metadata.version}, versionId ${first.versionId} → ${second.versionId}`;
  claim('new version', second.versionId === first.versionId + 1, versions);
  const kept = [before, balancer.view].map(keptBy);
  claim('candidates kept', kept[0] === 1 && kept[1] === 2, `${kept[1]} of 3; a request that began before: ${kept[0]}`);
  await publish('cache-aware');

  let sent = 0;
  let swapped = 0;
  let inFlightAtSwap = 0;
  let open = 0;
  const statuses: number[] = [];
  const client = async () => {
    while (sent < REQUESTS) {
      const body = turn(`topic ${sent++ % 7}`, 1);
      open++;
      statuses.push((await post(url, keyOf('team'), body)).status);
      open--;
    }
  };
  const swapper = async () => {
    for (; swapped < SWAPS; swapped++) {
      const share = ((swapped + 1) * REQUESTS) / (SWAPS + 1);
      while (statuses.length < share) await new Promise(setImmediate);
      inFlightAtSwap += open;
      await publish(VERSIONS[swapped % 2]!);
    }
  };
  await Promise.all([swapper(), ...Array.from({ length: CLIENTS }, client)]);
  const ok = statuses.filter((status) => status === 200).length;
  claim('swaps under load', swapped === SWAPS && inFlightAtSwap >= SWAPS, `${SWAPS}, each with requests in flight`);
  claim('requests', ok === REQUESTS, `${REQUESTS} sent, ${ok} answered 200, ${statuses.length - ok} failed`);
}

/** How many of three candidates without any prediction the filters of a view keep. */
function keptBy(view: View): number {
  const ctx = { requestId: 'r', method: 'POST', path: '/', headers: {}, body: new Uint8Array() };
  const candidates = view.routes.upstreams.map(({ id, name }) => ({
    upstreamId: id,
    name,
    kind: 'anthropic_api_key',
    observedAtUnixSecs: 0,
  }));
  const principal = { id: 'anybody', kind: 'api_key', claims: {} } as const;
  const outcome = view.pluginsOf(principal).chain.filter(ctx, principal, candidates);
  return outcome.kind === 'candidates' ? outcome.candidates.length : 0;
}
