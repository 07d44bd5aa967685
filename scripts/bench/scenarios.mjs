// What is measured. The default is held against the original on demand, the other configs against its pooling.
export const CONFIGS = [
  { name: 'on-demand', against: 'on-demand' },
  { name: 'pooling', against: 'pooling' },
  { name: 'production', against: 'pooling' },
  { name: 'low-latency', against: 'pooling' },
];
// Warm-ups are as long as a JIT needs to settle: a load balancer runs for days.
export const SIZES = [
  { label: '1 KiB', bodyBytes: 1024, iterations: 10_000, warmup: 20_000 },
  { label: '64 KiB', bodyBytes: 64 * 1024, iterations: 3_000, warmup: 3_000 },
  { label: '1 MiB', bodyBytes: 1024 * 1024, iterations: 150, warmup: 200 },
  { label: '16 MiB', bodyBytes: 16 * 1024 * 1024, iterations: 8, warmup: 40 },
];
export const STEPS = ['filter', 'shape'];
/** Calls a second at which the low-latency config is measured at 1 KiB. */
export const STEADY_RATE = 6_000;

/** The ratios to reach, ours to the original's, by config and size; a pair is filter and shape. */
export const GOALS = {
  'on-demand': { '1 KiB': 0.85, '64 KiB': 0.9, '1 MiB': 0.8, '16 MiB': 0.6 },
  production: { '1 KiB': 0.5, '64 KiB': 0.75, '1 MiB': 0.8, '16 MiB': [0.5, 0.65] },
  'low-latency': { '1 KiB': 0.4, '64 KiB': 0.4, '1 MiB': 0.5, '16 MiB': [0.5, 0.65] },
};

/** The goal of one cell, or undefined where none is set. */
export function goal(config, label, step) {
  const value = GOALS[config]?.[label];
  return Array.isArray(value) ? value[STEPS.indexOf(step)] : value;
}
