/** Runs one scenario and tells the parent how far it is and what it found. */
import { admission } from './admission.ts';
import { buffers } from './buffers.ts';
import { canary } from './canary.ts';
import { churn } from './churn.ts';
import { deadline } from './deadline.ts';
import { hostile } from './hostile.ts';
import { type Figure, type Scenario, Torment } from './scenario.ts';
import { slots } from './slots.ts';
import { soak } from './soak.ts';
import { swaps } from './swaps.ts';
import { hugeTenants, limitedTenants, tenants } from './tenants.ts';
import { traps } from './traps.ts';

export const SCENARIOS: Readonly<Record<string, Scenario>> = {
  ...{ traps, canary, churn, swaps, admission, hostile, buffers, deadline, soak, tenants, slots },
  ...{ 'huge-pages': hugeTenants, 'memory-limit': limitedTenants },
};

/** What the parent is told. */
export type Telling =
  | { readonly done: number; readonly target: number; readonly unit: string }
  | { readonly figures: readonly Figure[] }
  | { readonly broken: string };

const TELL_EVERY_MS = 500;

if (process.send !== undefined) {
  const [name, seed, seconds, target] = process.argv.slice(2) as [string, string, string, string];
  const scenario = SCENARIOS[name]!;
  const tell = (telling: Telling) => void process.send!(telling);
  let told = 0;
  const torment = new Torment(Number(seed), Number(target) || scenario.target, Number(seconds), (done) => {
    if (performance.now() - told < TELL_EVERY_MS) return;
    told = performance.now();
    tell({ done, target: torment.target, unit: scenario.unit });
  });
  try {
    tell({ figures: await scenario.run(torment) });
    process.disconnect();
  } catch (error) {
    // Workers of a broken scenario may be left, which would keep the process.
    const broken = error instanceof Error ? (error.stack ?? error.message) : String(error);
    process.send({ broken } satisfies Telling, () => process.exit(1));
  }
}
