/** Runs one scenario and reports its progress and its figures to the parent process. */
import { admission } from './admission.ts';
import { blocking } from './blocking.ts';
import { buffers } from './buffers.ts';
import { canary } from './canary.ts';
import { churn } from './churn.ts';
import { compile } from './compile.ts';
import { corruption } from './corruption.ts';
import { deadline } from './deadline.ts';
import { hostile } from './hostile.ts';
import { neighbors } from './neighbors.ts';
import { type Figure, Run, type Scenario } from './scenario.ts';
import { slots } from './slots.ts';
import { soak } from './soak.ts';
import { streams } from './streams.ts';
import { swaps } from './swaps.ts';
import { hugeTenants, limitedTenants, tenants } from './tenants.ts';
import { traps } from './traps.ts';

export const SCENARIOS: Readonly<Record<string, Scenario>> = {
  ...{
    traps,
    canary,
    churn,
    swaps,
    admission,
    hostile,
    compile,
    corruption,
    buffers,
    deadline,
    blocking,
    soak,
    tenants,
    slots,
    neighbors,
    streams,
  },
  ...{ 'huge-pages': hugeTenants, 'memory-limit': limitedTenants },
};

/** A message to the parent process. */
export type ChildMessage =
  | { readonly done: number; readonly target: number; readonly unit: string }
  | { readonly figures: readonly Figure[] }
  | { readonly violation: string };

const REPORT_EVERY_MS = 500;

if (process.send !== undefined) {
  const [name, seed, seconds, target] = process.argv.slice(2) as [string, string, string, string];
  const scenario = SCENARIOS[name]!;
  const report = (message: ChildMessage) => void process.send!(message);
  let reportedAt = 0;
  const run = new Run(Number(seed), Number(target) || scenario.target, Number(seconds), (done) => {
    if (performance.now() - reportedAt < REPORT_EVERY_MS) return;
    reportedAt = performance.now();
    report({ done, target: run.target, unit: scenario.unit });
  });
  try {
    report({ figures: await scenario.run(run) });
    process.disconnect();
  } catch (error) {
    // Workers that still run would keep the process alive.
    const violation = error instanceof Error ? (error.stack ?? error.message) : String(error);
    process.send({ violation } satisfies ChildMessage, () => process.exit(1));
  }
}
