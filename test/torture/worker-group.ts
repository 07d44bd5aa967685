/** One job on the main thread and on Workers at the same time. */
import { Worker } from 'node:worker_threads';
import { JOBS, type Job } from './jobs.ts';

/** Workers that do the same job as the main thread, batch by batch, each with its own seed. */
export class WorkerGroup {
  readonly #workers: Worker[];
  readonly #own: Job;

  private constructor(workers: Worker[], own: Job) {
    this.#workers = workers;
    this.#own = own;
  }

  static async start(job: keyof typeof JOBS, seed: number, workers: number): Promise<WorkerGroup> {
    const others = Array.from({ length: workers }, (_, index) => {
      const worker = new Worker(new URL('./group-worker.js', import.meta.url), {
        workerData: { job, seed: seed + 1 + index },
      });
      // One listener for each batch in flight.
      worker.setMaxListeners(32);
      return worker;
    });
    const group = new WorkerGroup(others, await JOBS[job](seed));
    await group.#all(others.map(answer), Promise.resolve(0));
    return group;
  }

  /** Each thread does `units` units; Workers then collect garbage. Returns the units that all threads did. */
  async batch(units: number): Promise<number> {
    const others = this.#workers.map((worker) => {
      worker.postMessage(units);
      return answer(worker);
    });
    return this.#all(others, this.#own(units));
  }

  async #all(others: Promise<number>[], own: Promise<number>): Promise<number> {
    const done = await Promise.all([own, ...others]);
    return done.reduce((sum, units) => sum + units, 0);
  }

  /** Closes the Workers' ports. Each Worker must then exit by itself. */
  async end(): Promise<void> {
    await Promise.all(
      this.#workers.map(async (worker) => {
        const ended = new Promise<number>((resolve) => worker.once('exit', resolve));
        worker.postMessage(null);
        if ((await ended) !== 0) throw new Error('a Worker ended with an error');
      }),
    );
  }
}

/** The next message of a Worker: its finished units. */
function answer(worker: Worker): Promise<number> {
  return new Promise((resolve, reject) => {
    const settled = (settle: () => void) => {
      worker.off('message', onMessage).off('error', onError).off('exit', onExit);
      settle();
    };
    const onMessage = (units: number) => settled(() => resolve(units));
    const onError = (error: Error) => settled(() => reject(error));
    const onExit = (code: number) => settled(() => reject(new Error(`a Worker exited with ${code} during a batch`)));
    worker.on('message', onMessage).on('error', onError).on('exit', onExit);
  });
}
