/** The worker processes: starts them, replaces them when they die, and deploys changes to them in two phases. */
import cluster, { type Worker } from 'node:cluster';
import { fileURLToPath } from 'node:url';
import { type Port, post, Remote, RemoteError } from './ipc.ts';
import type { Address } from './load-balancer.ts';
import type { Logger } from './logging.ts';
import type { Routes } from './routes.ts';
import {
  areLessons,
  type PluginName,
  READY,
  type WorkerOptions,
  type WorkerReport,
  type WorkerService,
} from './worker.ts';

/** Options of the workers. */
export interface WorkersOptions extends WorkerOptions {
  readonly count: number;
  readonly listen: Address;
  readonly logger: Logger;
}

/** `starting` until it accepts requests, then `serving`. */
interface Member {
  readonly worker: Worker;
  readonly remote: Remote<WorkerService>;
  isServing: boolean;
}

/** The status of a worker for operators. */
export interface MemberReport {
  readonly pid: number;
  readonly isServing: boolean;
  /** Null if the worker did not answer. */
  readonly report: WorkerReport | null;
}

/** Admission compiles modules. A worker that takes longer is considered hung. */
const PREPARE_MS = 120_000;
const CALL_MS = 30_000;
const REPORT_MS = 5_000;
/** The back-off in milliseconds before a dead worker is replaced, from the first value up to the last. */
const BACK_OFF_MS = [100, 1_000, 5_000, 15_000, 30_000];
/** A worker that served for this number of milliseconds restarts the back-off when it dies. */
const STABLE_MS = 60_000;

/** The workers of a load balancer, from `start` to `close`. */
export class Workers {
  readonly #options: WorkersOptions;
  readonly #members = new Set<Member>();
  /** The reasons of disabled keys, for workers that are started later. */
  readonly #disabled = new Map<string, PluginName & { readonly reason: string }>();
  #committed: Routes = { upstreams: [], principals: [], plugins: [] };
  #url = '';
  #restarts = 0;
  #deathsInARow = 0;
  #isClosing = false;
  /** Serializes changes and starts of workers, so that no worker misses a change. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: WorkersOptions) {
    this.#options = options;
  }

  /** The number of replaced workers. */
  get restarts(): number {
    return this.#restarts;
  }

  /** Whether requests are accepted. */
  get isReady(): boolean {
    return !this.#isClosing && [...this.#members].some(({ isServing }) => isServing);
  }

  /** Starts every worker with its first routes. Returns the address for requests. Rejects if a plugin is rejected. */
  async start(routes: Routes): Promise<string> {
    cluster.setupPrimary({ exec: fileURLToPath(new URL('./worker.js', import.meta.url)), serialization: 'advanced' });
    this.#committed = routes;
    await this.#inTurn(() => Promise.all(Array.from({ length: this.#options.count }, () => this.#bringUp())));
    return this.#url;
  }

  /**
   * Admits routes in every worker, then deploys them in every worker. If one worker rejects them, this rejects, and
   * they are not deployed. A request uses the old or the new set, never both.
   */
  publish(routes: Routes): Promise<void> {
    return this.#inTurn(async () => {
      const serving = this.#serving();
      const prepared = await Promise.allSettled(
        serving.map(({ remote }) => remote.call('prepare', routes, PREPARE_MS)),
      );
      for (const [index, result] of prepared.entries()) {
        if (result.status === 'fulfilled') continue;
        // A dead worker is replaced and does not count as a rejection. A hung worker is ended, so that it does not miss
        // this change.
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

  /** Disables a plugin in every worker, including workers that are started later. */
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

  /** Returns a serving worker. Throws if there is none. */
  get any(): Remote<WorkerService> {
    const [first] = this.#serving();
    if (first === undefined) throw new Error('no worker serves');
    return first.remote;
  }

  /** Returns the series of every worker. */
  async metrics() {
    const answers = this.#serving().map(({ remote }) => remote.call('metrics', null, REPORT_MS).catch(() => null));
    return (await Promise.all(answers)).filter((metrics) => metrics !== null);
  }

  /** Returns the report of every worker. */
  reports(): Promise<MemberReport[]> {
    return Promise.all(
      [...this.#members].map(async ({ worker, remote, isServing }) => ({
        pid: worker.process.pid ?? 0,
        isServing,
        report: isServing ? await remote.call('report', null, REPORT_MS).catch(() => null) : null,
      })),
    );
  }

  /** Waits `graceMs` for running requests, then ends every worker. */
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

  /** Starts a worker and deploys the committed routes to it. */
  async #bringUp(): Promise<void> {
    const { count: _, listen, logger, ...options } = this.#options;
    const worker = cluster.fork();
    const member: Member = { worker, remote: new Remote(worker as unknown as Port), isServing: false };
    this.#members.add(member);
    worker.on('message', (message: unknown) => {
      if (!areLessons(message)) return;
      for (const other of this.#serving()) if (other !== member) post(other.worker as unknown as Port, message);
    });
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

/** Resolves when the worker accepts calls; rejects if it ends first. */
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
