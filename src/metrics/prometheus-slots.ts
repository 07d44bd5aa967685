/** Series of slots in a prom-client Registry. They exist while their slot is registered, so their number is bounded. */
import type * as PromClient from 'prom-client';
import type { BreakerState } from '../isolation/breaker.ts';
import type { SlotStatus } from '../isolation/status.ts';
import { KeyMap, type SlotKey } from '../slot-key.ts';
import type { PrometheusRegistry } from './prometheus-client.ts';

const LABEL_UNITS = 200;
const CONTROL = /\p{Cc}/u;
const BREAKER_VALUES: Readonly<Record<BreakerState, number>> = { closed: 0, 'half-open': 1, open: 2 };

const SERIES = {
  cc_lb_plugin_slot_info: [
    'The registered version of each slot',
    ['principal', 'plugin', 'name', 'kind', 'version', 'hash', 'enforcement'],
  ],
  cc_lb_plugin_slot_breaker_state: ['Breaker of the current version: 0 closed, 1 half-open, 2 open', []],
  cc_lb_plugin_slot_breaker_open_principals: [
    'Calling principals for which the breaker of a global slot is not closed',
    [],
  ],
  cc_lb_plugin_slot_disabled: ['Whether an operator disabled the slot', []],
  cc_lb_plugin_slot_calls_total: ['Admitted calls, with any outcome', []],
  cc_lb_plugin_slot_failures_total: ['Calls that failed, by kind', ['failure']],
  cc_lb_plugin_slot_unavailable_total: ['Calls that the breaker or the kill switch rejected', []],
  cc_lb_plugin_slot_pass_throughs_total: ['Requests that passed through unchanged after the plugin failed', []],
  cc_lb_plugin_slot_dropped_events_total: ['Queued events that were dropped because the queue was full', []],
  cc_lb_plugin_slot_highest_memory_bytes: ['Largest memory at the end of a call of the current content', []],
  cc_lb_plugin_slot_monitored_total: ['Sampled calls of the monitored version, by result', ['result']],
  cc_lb_plugin_slot_refusals_total: ['Registrations on the slot that were rejected', []],
} as const satisfies Record<string, readonly [string, readonly string[]]>;
type Name = keyof typeof SERIES;
type Labels = Readonly<Record<string, string>>;

/**
 * Formats the value of a label: escapes control characters, because values are displayed, and truncates to 200 code
 * units.
 */
export function labelValue(text: string): string {
  // Most names are labels as they are, and a test costs less than a replacement with every call.
  if (text.length <= LABEL_UNITS && !CONTROL.test(text)) return text;
  const cut = text.length <= LABEL_UNITS ? text : `${text.slice(0, LABEL_UNITS)}…`;
  return cut.replace(/\p{Cc}/gu, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** One value of a slot: a total of a counter, or the value of a gauge. */
type Value = readonly [name: Name, labels: Labels, value: number];

/** The series of one key, to which every sink of the registry with a slot of that key contributes. */
interface SharedSeries {
  /** The last values of each sink, while its slot is registered. */
  readonly reports: Map<SlotSeries, readonly Value[]>;
  /** The totals that the counters include, by series. They outlive a report, because a sink may report a slot again. */
  readonly counted: WeakMap<SlotSeries, Map<string, number>>;
  /** Every series that was set, to be removed after the last report. */
  readonly known: Map<string, readonly [Name, Labels]>;
}

/** The series of each registry. */
const registries = new WeakMap<PrometheusRegistry, KeyMap<SharedSeries>>();

/**
 * Sets and removes the series of the slots of one sink. Several runtimes may have a slot of the same key, such as while
 * one replaces another: a counter is the sum of their totals, a gauge their maximum, as for several processes.
 */
export class SlotSeries {
  readonly #registry: PrometheusRegistry;
  readonly #client: typeof PromClient;
  readonly #keys: KeyMap<SharedSeries>;

  constructor(registry: PrometheusRegistry, client: typeof PromClient) {
    this.#registry = registry;
    this.#client = client;
    this.#keys = registries.get(registry) ?? new KeyMap();
    registries.set(registry, this.#keys);
    for (const name of Object.keys(SERIES)) this.#metric(name as Name);
  }

  /** Sets the series of one slot. */
  set(status: SlotStatus): void {
    const { key } = status;
    const series = this.#keys.get(key) ?? { reports: new Map(), counted: new WeakMap(), known: new Map() };
    this.#keys.set(key, series);
    const counted = series.counted.get(this) ?? new Map<string, number>();
    series.counted.set(this, counted);
    const values = valuesOf(status);
    series.reports.set(this, values);
    for (const [name, labels, total] of values) {
      if (!isCounter(name)) continue;
      const id = idOf(name, labels);
      const before = counted.get(id) ?? 0;
      // A lower total is that of a slot that was evicted and registered again.
      (this.#metric(name) as PromClient.Counter).inc(labels, total < before ? total : total - before);
      counted.set(id, total);
      series.known.set(id, [name, labels]);
    }
    this.#setGauges(series);
  }

  /** Removes the slot of this sink from the series of its key. */
  remove(key: SlotKey): void {
    const series = this.#keys.get(key);
    if (!series?.reports.delete(this)) return;
    if (series.reports.size > 0) {
      this.#setGauges(series);
      return;
    }
    for (const [name, labels] of series.known.values()) this.#metric(name).remove(labels);
    this.#keys.delete(key);
  }

  /** Sets each gauge to the maximum of the reports, and removes those without a report, such as of an earlier version. */
  #setGauges({ reports, known }: SharedSeries): void {
    for (const [id, [name, labels]] of known) {
      if (isCounter(name)) continue;
      this.#metric(name).remove(labels);
      known.delete(id);
    }
    const highest = new Map<string, number>();
    for (const [name, labels, value] of [...reports.values()].flat()) {
      if (isCounter(name)) continue;
      const id = idOf(name, labels);
      const maximum = Math.max(value, highest.get(id) ?? value);
      highest.set(id, maximum);
      known.set(id, [name, labels]);
      (this.#metric(name) as PromClient.Gauge).set(labels, maximum);
    }
  }

  /** Looks the series up each time, because the registry may be cleared. */
  #metric(name: Name): PromClient.Counter | PromClient.Gauge {
    const existing = this.#registry.getSingleMetric(name);
    if (existing !== undefined) return existing as PromClient.Counter | PromClient.Gauge;
    const [help, own] = SERIES[name];
    const labelNames = [...new Set<string>(['principal', 'plugin', ...own])];
    const configuration = { name, help, labelNames, registers: [this.#registry as PromClient.Registry] };
    if (isCounter(name)) return new this.#client.Counter(configuration);
    // The aggregate of several processes is the most open state.
    return new this.#client.Gauge({ ...configuration, aggregator: 'max' });
  }
}

function isCounter(name: Name): boolean {
  return name.endsWith('_total');
}

function valuesOf(status: SlotStatus): Value[] {
  const slot = { principal: labelValue(status.key.principal), plugin: labelValue(status.key.plugin) };
  const { pluginName, kind, versionId, contentHash, enforcement, breaker } = status;
  const info = {
    ...slot,
    name: labelValue(pluginName),
    kind,
    version: String(versionId),
    hash: contentHash,
    enforcement,
  };
  const values: Value[] = [
    ['cc_lb_plugin_slot_info', info, 1],
    ['cc_lb_plugin_slot_disabled', slot, status.disabled === null ? 0 : 1],
    ['cc_lb_plugin_slot_calls_total', slot, status.calls],
    ['cc_lb_plugin_slot_unavailable_total', slot, status.unavailable],
    ['cc_lb_plugin_slot_pass_throughs_total', slot, status.passThroughs],
    ['cc_lb_plugin_slot_dropped_events_total', slot, status.droppedEvents],
    ['cc_lb_plugin_slot_highest_memory_bytes', slot, status.highestMemoryBytes],
    ['cc_lb_plugin_slot_refusals_total', slot, status.refusals],
  ];
  if (breaker !== null) {
    values.push(['cc_lb_plugin_slot_breaker_state', slot, BREAKER_VALUES[breaker.state]]);
    values.push(['cc_lb_plugin_slot_breaker_open_principals', slot, breaker.openPrincipals]);
  }
  for (const [failure, count] of Object.entries(status.failures)) {
    values.push(['cc_lb_plugin_slot_failures_total', { ...slot, failure }, count]);
  }
  for (const result of ['agreed', 'differed', 'failed', 'skipped'] as const) {
    if (status.monitor === null) break;
    values.push(['cc_lb_plugin_slot_monitored_total', { ...slot, result }, status.monitor[result]]);
  }
  return values;
}

/** Identifies a series. The labels of a name are always in the same order. */
function idOf(name: Name, labels: Labels): string {
  return JSON.stringify([name, labels]);
}
