/** The internals of a runtime, which its facade, registrations and adapters share. */
import { Admissions } from './admission/admissions.ts';
import type { HotEngineConfig } from './config.ts';
import { Dispatcher } from './dispatch/dispatcher.ts';
import { ObserveQueue } from './dispatch/observe-queue.ts';
import type { OpenEngine } from './engine.ts';
import { Isolation } from './isolation/isolation.ts';
import type { MonitorReport } from './isolation/monitor.ts';
import type { MetricsSink } from './metrics/sink.ts';
import { KeyMap } from './slot-key.ts';
import type { Slot } from './slots.ts';

/** One runtime's engine, dispatcher and slots. */
export class Core {
  /** Complete and frozen. */
  readonly config: HotEngineConfig;
  readonly engine: OpenEngine;
  readonly metrics: Required<MetricsSink>;
  readonly isolation: Isolation;
  readonly dispatcher: Dispatcher;
  readonly admissions: Admissions;
  /** The queued events of observers. */
  readonly events: ObserveQueue;
  /** Receives each call of a monitored version. Never throws. */
  readonly monitored: (report: MonitorReport) => void;
  /** The registered slots by their keys. */
  readonly slots: KeyMap<Slot> = new KeyMap();

  constructor(engine: OpenEngine, metrics: Required<MetricsSink>, monitored: (report: MonitorReport) => void) {
    this.config = engine.config;
    this.engine = engine;
    this.metrics = metrics;
    this.isolation = new Isolation(engine.config.breaker, metrics);
    this.dispatcher = new Dispatcher(engine.config, metrics);
    this.admissions = new Admissions(engine.config);
    this.events = new ObserveQueue(this.dispatcher);
    this.monitored = monitored;
  }
}
