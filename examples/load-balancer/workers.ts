/** The worker processes: started, replaced when they die, and given every change in two phases. */
import cluster, { type Worker } from 'node:cluster';
import { fileURLToPath } from 'node:url';
import { type Port, Remote, RemoteError } from './ipc.ts';
import type { Address } from './load-balancer.ts';
import type { Logger } from './logging.ts';
import type { Routes } from './routes.ts';
import { type PluginName, READY, type WorkerOptions, type WorkerReport, type WorkerService } from './worker.ts';

/** How workers are run. */
export interface WorkersOptions extends WorkerOptions {
  readonly count: number;
  readonly listen: Address;
  readonly logger: Logger;
}

/** `starting` until it serves, then `serving`. */
interface Member {
  readonly worker: Worker;
  readonly remote: Remote<WorkerService>;
  isServing: boolean;
}

/** A worker as operators see it. */
export interface MemberReport {
  readonly pid: number;
  readonly isServing: boolean;
  /** Null where the worker did not answer. */
  readonly report: WorkerReport | null;
}

/** Admission compiles; a worker that takes longer counts as hung. */
const PREPARE_MS = 120_000;
const CALL_MS = 30_000;
const REPORT_MS = 5_000;
/** A worker that dies is replaced after the first of these milliseconds, and later each time up to the last. */
const BACK_OFF_MS = [100, 1_000, 5_000, 15_000, 30_000];
/** A worker that has served for so long, in milliseconds, starts the back-off from the beginning when it dies. */
const STABLE_MS = 60_000;

/** The workers of a load balancer, from `start` to `close`. */
export class Workers {
  readonly #options: WorkersOptions;
  readonly #members = new Set<Member>();
  /** Why keys are disabled, for workers that are started later. */
  readonly #disabled = new Map<string, PluginName & { readonly reason: string }>();
  #committed: Routes = { upstreams: [], principals: [], plugins: [] };
  #url = '';
  #restarts = 0;
  #deathsInARow = 0;
  #isClosing = false;
  /** Changes and starts of workers happen one after the other, so that no worker misses a change. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: WorkersOptions) {
    this.#options = options;
  }

  /** How often a worker was replaced. */
  get restarts(): number {
    return this.#restarts;
  }

  /** Whether requests are answered. */
  get isReady(): boolean {
    return !this.#isClosing && [...this.#members].some(({ isServing }) => isServing);
  }

  /** Starts every worker with its first routes. Gives the address to send requests to; rejects where a plugin is refused. */
  async start(routes: Routes): Promise<string> {
    cluster.setupPrimary({ exec: fileURLToPath(new URL('./worker.js', import.meta.url)), serialization: 'advanced' });
    this.#committed = routes;
    await this.#inTurn(() => Promise.all(Array.from({ length: this.#options.count }, () => this.#bringUp())));
    return this.#url;
  }

  /**
   * Has routes admitted by every worker, then brought into service by every worker. Rejects where one refuses: then they
   * serve nowhere. A request sees the old set or the new one, never both.
   */
  publish(routes: Routes): Promise<void> {
    return this.#inTurn(async () => {
      const serving = this.#serving();
      const prepared = await Promise.allSettled(
        serving.map(({ remote }) => remote.call('prepare', routes, PREPARE_MS)),
      );
      for (const [index, result] of prepared.entries()) {
        if (result.status === 'fulfilled') continue;
        // A worker that died is replaced, and refuses nothing; one that hangs must not get the next change either.
        if (!isLost(result.reason)) throw result.reason;
        serving[index]!.worker.process.kill('SIGKILL');
      }
      this.#committed = routes;
      const committed = await Promise.allSettled(serving.map(({ remote }) => remote.call('commit', routes, CALL_MS)));
      for (const [index, result] of committed.entries()) {
        if (result.status === 'fulfilled') continue;
        this.#options.logger.error({ err: result.reason }, 'a worker could not commit and is replaced');
        serving[index]!.worker.process.kill('SIGKILL');
      }
    });
  }

  /** Has every worker refuse a plugin's calls, workers that are started later too. */
  async disable(name: PluginName & { readonly reason: string }): Promise<void> {
    await this.#inTurn(async () => {
      await Promise.all(this.#serving().map(({ remote }) => remote.call('disable', name, CALL_MS)));
      this.#disabled.set(keyOf(name), name);
    });
  }

  /** Ends `disable`. */
  async enable(name: PluginName): Promise<void> {
    await this.#inTurn(async () => {
      this.#disabled.delete(keyOf(name));
      await Promise.all(this.#serving().map(({ remote }) => remote.call('enable', name, CALL_MS)));
    });
  }

  /** One of the workers that serve. Throws where there is none. */
  get any(): Remote<WorkerService> {
    const [first] = this.#serving();
    if (first === undefined) throw new Error('no worker serves');
    return first.remote;
  }

  /** Every worker's series. */
  async metrics() {
    const answers = this.#serving().map(({ remote }) => remote.call('metrics', null, REPORT_MS).catch(() => null));
    return (await Promise.all(answers)).filter((metrics) => metrics !== null);
  }

  /** Every worker's report. */
  reports(): Promise<MemberReport[]> {
    return Promise.all(
      [...this.#members].map(async ({ worker, remote, isServing }) => ({
        pid: worker.process.pid ?? 0,
        isServing,
        report: isServing ? await remote.call('report', null, REPORT_MS).catch(() => null) : null,
      })),
    );
  }

  /** Lets running requests finish for `graceMs`, then ends every worker. */
  async close(graceMs: number): Promise<void> {
    this.#isClosing = true;
    const ended = [...this.#members].map(async ({ worker, remote }) => {
      const exited = new Promise<void>((resolve) => {
        if (worker.isDead()) resolve();
        else worker.process.once('exit', () => resolve());
      });
      await remote.call('close', { graceMs }, graceMs + CALL_MS).catch(() => worker.process.kill('SIGKILL'));
      await exited;
    });
    await Promise.all(ended);
  }

  #serving(): Member[] {
    return [...this.#members].filter(({ isServing }) => isServing);
  }

  #inTurn<T>(change: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(change);
    this.#turn = done.catch(() => {});
    return done;
  }

  /** Starts a worker and has it serve what is committed. */
  async #bringUp(): Promise<void> {
    const { count: _, listen, logger, ...options } = this.#options;
    const worker = cluster.fork();
    const member: Member = { worker, remote: new Remote(worker as unknown as Port), isServing: false };
    this.#members.add(member);
    const began = performance.now();
    worker.once('exit', (code, signal) => {
      this.#members.delete(member);
      if (!this.#isClosing && member.isServing) {
        logger.error({ pid: worker.process.pid, code, signal }, 'a worker has died');
        this.#replace(performance.now() - began > STABLE_MS);
      }
    });
    try {
      await isReady(worker);
      await member.remote.call('start', options, CALL_MS);
      for (const disabled of this.#disabled.values()) await member.remote.call('disable', disabled, CALL_MS);
      await member.remote.call('prepare', this.#committed, PREPARE_MS);
      await member.remote.call('commit', this.#committed, CALL_MS);
      this.#url = await member.remote.call('listen', listen, CALL_MS);
      member.isServing = true;
    } catch (error) {
      worker.process.kill('SIGKILL');
      throw error;
    }
  }

  #replace(wasStable: boolean): void {
    if (wasStable) this.#deathsInARow = 0;
    const waitMs = BACK_OFF_MS[Math.min(this.#deathsInARow++, BACK_OFF_MS.length - 1)]!;
    setTimeout(() => {
      this.#inTurn(async () => {
        if (this.#isClosing) return;
        this.#restarts++;
        await this.#bringUp();
      }).catch((error: unknown) => {
        this.#options.logger.error({ err: error }, 'a worker could not be started');
        if (!this.#isClosing) this.#replace(false);
      });
    }, waitMs);
  }
}

/** Resolves when the worker takes calls; rejects where it ends before. */
function isReady(worker: Worker): Promise<void> {
  return new Promise((resolve, reject) => {
    worker.once('exit', () => reject(new Error('the worker ended before it was ready')));
    worker.on('message', (message: unknown) => {
      if (message === READY) resolve();
    });
  });
}

function isLost(error: unknown): boolean {
  return error instanceof RemoteError && error.isLost;
}

function keyOf({ principal, plugin }: PluginName): string {
  return JSON.stringify([principal ?? null, plugin]);
}
