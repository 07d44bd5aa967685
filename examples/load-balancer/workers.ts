/** The worker processes: starts them, replaces them when they die, and deploys changes to them in two phases. */
import cluster, { type Worker } from 'node:cluster';
import { fileURLToPath } from 'node:url';
import { type Port, post, Remote, RemoteError } from './ipc.ts';
import type { Address } from './listening.ts';
import type { Logger } from './logging.ts';
import { type RouteSet, routeSet } from './route-set.ts';
import { pluginKey, type Routes } from './routes.ts';
import { SerialQueue } from './serial-queue.ts';
import { Totals } from './totals.ts';
import {
  areCachedPrompts,
  type Metrics,
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

/**
 * `starting` until it has a runtime, `running` until the committed routes are deployed in it, `deployed` until it
 * accepts requests, then `serving`.
 */
type MemberState = 'starting' | 'running' | 'deployed' | 'serving';

interface Member {
  readonly worker: Worker;
  readonly remote: Remote<WorkerService>;
  state: MemberState;
  /** The series that it reported last. */
  metrics: Metrics;
}

/** The status of a worker for operators. */
export interface MemberReport {
  readonly pid: number;
  readonly isServing: boolean;
  /** Null if the worker did not answer. */
  readonly report: WorkerReport | null;
}

const NO_ROUTES: Routes = { upstreams: [], principals: [], plugins: [] };
/** Admission compiles a module and probes it. A worker that takes longer for one is considered hung. */
const ADMIT_MS = 120_000;
const CALL_MS = 30_000;
/** A worker that does not disable a plugin within this time is ended, because it still calls the plugin. */
const DISABLE_MS = 5_000;
const REPORT_MS = 5_000;
/** The back-off in milliseconds before a dead worker is replaced, from the first value up to the last. */
const BACK_OFF_MS = [100, 1_000, 5_000, 15_000, 30_000];
/** Longer timers fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;
/** A worker that served for this number of milliseconds restarts the back-off when it dies. */
const STABLE_MS = 60_000;

/** The workers of a load balancer, from `start` to `close`. */
export class Workers {
  readonly #options: WorkersOptions;
  readonly #members = new Set<Member>();
  /** The reasons of disabled plugins, for workers that are started later. */
  readonly #disabled = new Map<string, PluginName & { readonly reason: string }>();
  /** What ended workers have counted. */
  readonly #ended = new Totals();
  /** Serializes deployments and starts of workers, so that no worker misses a deployment. */
  readonly #queue = new SerialQueue();
  #committed = NO_ROUTES;
  #lastSet = 0;
  #restarts = 0;
  #deathsInARow = 0;
  #isListening = false;
  #isClosing = false;

  constructor(options: WorkersOptions) {
    this.#options = options;
  }

  /** The number of replaced workers. */
  get restarts(): number {
    return this.#restarts;
  }

  /** The number of workers that accept requests. */
  get serving(): number {
    return this.#in('serving').length;
  }

  /** Whether requests are accepted. */
  get isReady(): boolean {
    return !this.#isClosing && this.serving > 0;
  }

  /** Starts every worker with its first routes. They accept no requests yet. Rejects if a plugin is rejected. */
  async start(routes: Routes): Promise<void> {
    cluster.setupPrimary({ exec: fileURLToPath(new URL('./worker.js', import.meta.url)), serialization: 'advanced' });
    this.#committed = routes;
    await this.#queue.run(() => Promise.all(Array.from({ length: this.#options.count }, () => this.#bringUp())));
  }

  /** Accepts requests in every worker, including workers that are started later. Returns the address for requests. */
  listen(): Promise<string> {
    return this.#queue.run(async () => {
      this.#isListening = true;
      const listening = await this.#call(this.#in('deployed'), 'listen', this.#options.listen, CALL_MS);
      for (const { member } of listening) member.state = 'serving';
      if (listening[0] === undefined) throw new Error('no worker could listen');
      return listening[0].value;
    });
  }

  /**
   * Admits routes in every worker, then deploys them in every worker. Rejects if a worker rejects them, or if none
   * admits them; they are not deployed then. A worker that does not answer is ended and does not count; if none answers,
   * a new one is started. A request uses the old or the new set, never both.
   */
  publish(routes: Routes): Promise<void> {
    return this.#queue.run(async () => {
      const set = routeSet(++this.#lastSet, routes, this.#committed);
      let prepared = await this.#prepare(this.#in('deployed', 'serving'), set, routes);
      // A worker may end for other reasons than the set, so a new one decides.
      if (prepared.length === 0) prepared = await this.#prepare([await this.#startAnother()], set, routes);
      if (prepared.length === 0) throw new Error('no worker could admit the plugins');
      const committed = await Promise.allSettled(prepared.map(({ remote }) => remote.call('commit', set.id, CALL_MS)));
      for (const [index, result] of committed.entries()) {
        if (result.status === 'fulfilled') continue;
        this.#options.logger.error({ err: result.reason }, 'a worker could not commit and is replaced');
        end(prepared[index]!);
      }
      if (committed.every(({ status }) => status === 'rejected')) throw new Error('no worker could commit');
      this.#committed = routes;
    });
  }

  /**
   * Disables a plugin in every worker, including workers that are started later. Does not wait for deployments. A
   * worker that does not answer is ended.
   */
  async disable(name: PluginName & { readonly reason: string }): Promise<void> {
    this.#disabled.set(pluginKey(name.plugin, name.principal), name);
    await this.#call(this.#in('running', 'deployed', 'serving'), 'disable', name, DISABLE_MS);
  }

  /** Ends `disable`. */
  async enable(name: PluginName): Promise<void> {
    this.#disabled.delete(pluginKey(name.plugin, name.principal));
    await this.#call(this.#in('running', 'deployed', 'serving'), 'enable', name, CALL_MS);
  }

  /** Whether a plugin is disabled. */
  isDisabled({ plugin, principal }: PluginName): boolean {
    return this.#disabled.has(pluginKey(plugin, principal));
  }

  /** Returns a serving worker. Throws if there is none. */
  get any(): Remote<WorkerService> {
    const [first] = this.#in('serving');
    if (first === undefined) throw new Error('no worker serves');
    return first.remote;
  }

  /**
   * Returns the series of every worker, the last ones of a worker that does not answer, and the counters and histograms
   * of ended workers, so that sums never fall.
   */
  async metrics(): Promise<Metrics[]> {
    await Promise.all(
      this.#in('deployed', 'serving').map(async (member) => {
        member.metrics = await member.remote.call('metrics', null, REPORT_MS).catch(() => member.metrics);
      }),
    );
    // In one turn, so that a worker that ends meanwhile is counted once.
    return [...[...this.#members].map(({ metrics }) => metrics), this.#ended.metrics];
  }

  /** Returns the report of every worker. */
  reports(): Promise<MemberReport[]> {
    return Promise.all(
      [...this.#members].map(async ({ worker, remote, state }) => ({
        pid: worker.process.pid ?? 0,
        isServing: state === 'serving',
        report: state === 'serving' ? await remote.call('report', null, REPORT_MS).catch(() => null) : null,
      })),
    );
  }

  /** Waits `graceMs` for running requests, then ends every worker. */
  async close(graceMs: number): Promise<void> {
    this.#isClosing = true;
    const limitMs = Math.min(graceMs + CALL_MS, MAX_TIMER_MS);
    const ended = [...this.#members].map(async (member) => {
      if (member.worker.isDead()) return;
      const exited = new Promise((resolve) => member.worker.once('exit', resolve));
      const timer = setTimeout(() => end(member), limitMs);
      // A worker that does not serve has no requests, and may not accept calls yet.
      if (member.state === 'serving') member.remote.call('close', { graceMs }, limitMs).catch(() => {});
      else end(member);
      await exited;
      clearTimeout(timer);
    });
    await Promise.all(ended);
  }

  #in(...states: readonly MemberState[]): Member[] {
    return [...this.#members].filter(({ state }) => states.includes(state));
  }

  /**
   * Calls workers and returns the answers. Ends workers that do not answer; they are replaced. Rejects if a worker
   * rejects the call.
   */
  async #call<Name extends keyof WorkerService>(
    members: readonly Member[],
    name: Name,
    argument: Parameters<WorkerService[Name]>[0],
    timeoutMs: number,
  ) {
    const results = await Promise.allSettled(members.map(({ remote }) => remote.call(name, argument, timeoutMs)));
    const answers: { member: Member; value: Awaited<ReturnType<WorkerService[Name]>> }[] = [];
    const rejections: unknown[] = [];
    for (const [index, result] of results.entries()) {
      const member = members[index]!;
      if (result.status === 'fulfilled') answers.push({ member, value: result.value });
      else if (result.reason instanceof RemoteError && result.reason.isLost) end(member);
      else rejections.push(result.reason);
    }
    if (rejections.length > 0) throw rejections[0];
    return answers;
  }

  /**
   * Admits the new plugins of a set in workers, one after the other: the time limit is that of one admission, so that many
   * slow ones do not end the workers. Returns the workers that answer. Rejects if a worker rejects a plugin.
   */
  async #prepare(members: readonly Member[], set: RouteSet, { plugins }: Routes): Promise<Member[]> {
    let ready = (await this.#call(members, 'prepare', set, CALL_MS)).map(({ member }) => member);
    for (const [index, { deployed }] of set.plugins.entries()) {
      if (deployed !== null) continue;
      const plugin = { index, bytes: plugins[index]!.bytes };
      ready = (await this.#call(ready, 'admit', plugin, ADMIT_MS)).map(({ member }) => member);
    }
    return ready;
  }

  /** Starts a worker and deploys the committed routes in it. If this fails, the worker ends. */
  async #bringUp(): Promise<Member> {
    const { count: _, listen, logger: __, ...options } = this.#options;
    const member = this.#fork();
    const { worker, remote } = member;
    try {
      await isReady(worker);
      await remote.call('start', options, CALL_MS);
      member.state = 'running';
      // Sent in the turn in which later changes are sent too, so that these follow.
      await Promise.all([...this.#disabled.values()].map((disabled) => remote.call('disable', disabled, CALL_MS)));
      const set = routeSet(++this.#lastSet, this.#committed, NO_ROUTES);
      if ((await this.#prepare([member], set, this.#committed)).length === 0)
        throw new Error('the worker did not admit the plugins');
      await remote.call('commit', set.id, CALL_MS);
      if (this.#isListening) await remote.call('listen', listen, CALL_MS);
      member.state = this.#isListening ? 'serving' : 'deployed';
      return member;
    } catch (error) {
      end(member);
      throw error;
    }
  }

  #fork(): Member {
    const worker = cluster.fork();
    const member: Member = { worker, remote: new Remote(worker as unknown as Port), state: 'starting', metrics: [] };
    this.#members.add(member);
    worker.on('message', (message: unknown) => {
      if (!areCachedPrompts(message)) return;
      for (const other of this.#in('serving')) if (other !== member) post(other.worker as unknown as Port, message);
    });
    const began = performance.now();
    worker.once('exit', (code, signal) => {
      this.#members.delete(member);
      this.#ended.add(member.metrics);
      if (this.#isClosing) return;
      this.#options.logger.error({ pid: worker.process.pid, code, signal }, 'a worker has died');
      this.#replace(performance.now() - began > STABLE_MS);
    });
    return member;
  }

  /** Starts another worker after a delay, unless there are enough. */
  #replace(wasStable: boolean): void {
    if (wasStable) this.#deathsInARow = 0;
    const waitMs = BACK_OFF_MS[Math.min(this.#deathsInARow++, BACK_OFF_MS.length - 1)]!;
    setTimeout(() => {
      this.#queue
        .run(async () => {
          if (this.#members.size < this.#options.count) await this.#startAnother();
        })
        .catch((error: unknown) => {
          if (!this.#isClosing) this.#options.logger.error({ err: error }, 'a worker could not be started');
        });
    }, waitMs);
  }

  async #startAnother(): Promise<Member> {
    if (this.#isClosing) throw new Error('the workers are being closed');
    this.#restarts++;
    return this.#bringUp();
  }
}

function end({ worker }: Member): void {
  worker.process.kill('SIGKILL');
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
