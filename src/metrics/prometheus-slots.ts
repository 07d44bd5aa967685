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

/** Sets and removes the series of slots. */
export class SlotSeries {
  readonly #registry: PrometheusRegistry;
  readonly #client: typeof PromClient;
  /** The label sets to remove when the series of a slot are set again or the slot is evicted. */
  readonly #set = new KeyMap<readonly (readonly [Name, Labels])[]>();

  constructor(registry: PrometheusRegistry, client: typeof PromClient) {
    this.#registry = registry;
    this.#client = client;
    for (const name of Object.keys(SERIES)) this.#metric(name as Name);
  }

  /** Sets the series of one slot. */
  set(status: SlotStatus): void {
    this.remove(status.key);
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
    const values: [Name, Labels, number][] = [
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
    for (const [name, labels, value] of values) {
      const metric = this.#metric(name);
      if (metric instanceof this.#client.Gauge) metric.set(labels, value);
      else metric.inc(labels, value);
    }
    this.#set.set(
      status.key,
      values.map(([name, labels]) => [name, labels]),
    );
  }

  /** Removes the series of a slot. */
  remove(key: SlotKey): void {
    for (const [name, labels] of this.#set.get(key) ?? []) this.#metric(name).remove(labels);
    this.#set.delete(key);
  }

  /** Looks the series up each time, because the registry may be cleared. */
  #metric(name: Name): PromClient.Counter | PromClient.Gauge {
    const existing = this.#registry.getSingleMetric(name);
    if (existing !== undefined) return existing as PromClient.Counter | PromClient.Gauge;
    const [help, own] = SERIES[name];
    const labelNames = [...new Set<string>(['principal', 'plugin', ...own])];
    const configuration = { name, help, labelNames, registers: [this.#registry as PromClient.Registry] };
    if (name.endsWith('_total')) return new this.#client.Counter(configuration);
    // The aggregate of several processes is the most open state.
    return new this.#client.Gauge({ ...configuration, aggregator: 'max' });
  }
}
