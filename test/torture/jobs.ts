/** The jobs of a worker group. Each thread makes its own. */
import { canaryJob } from './canary-job.ts';
import { soakJob } from './soak-job.ts';
import { tenantsJob } from './tenants-job.ts';
import { trapJob } from './trap-job.ts';

/** Does about `units` units and returns how many it did. */
export type Job = (units: number) => Promise<number>;

export const JOBS = { canary: canaryJob, soak: soakJob, tenants: tenantsJob, traps: trapJob } satisfies Record<
  string,
  (seed: number) => Promise<Job>
>;
