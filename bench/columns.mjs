// The measured columns: how each is run, and the target ratios.

const SIZES = [
  { label: '1 KiB', bodyBytes: 1024, measureMs: 200, minimum: 200 },
  { label: '64 KiB', bodyBytes: 64 * 1024, measureMs: 200, minimum: 100 },
  { label: '1 MiB', bodyBytes: 1024 * 1024, measureMs: 250, minimum: 40 },
  { label: '16 MiB', bodyBytes: 16 * 1024 * 1024, measureMs: 250, minimum: 6 },
];
const PRINCIPALS = [1, 16, 64, 300];
const UNTUNED = ['default-profile', 'maximum', 'initial-memory', 'static-data', 'simd'];

/** Ways of using two CPUs: one thread, two threads of a process, two processes of one thread. */
export const MODES = {
  one: { threads: 1, processes: 1 },
  threads: { threads: 2, processes: 1 },
  processes: { threads: 1, processes: 2 },
};

/** Limits of the ratio to the Rust crate on demand, by body size and principals. */
const GOALS = {
  p50Us: {
    '1 KiB': { 1: 0.4, 16: 0.45, 64: 0.52, 300: 0.6 },
    '64 KiB': { 1: 0.3, 16: 0.42 },
    '1 MiB': { 1: 0.42 },
  },
  cpuUs: {
    '1 KiB': { 1: 0.5, 16: 0.6, 64: 0.6 },
    '64 KiB': { 1: 0.5, 16: 0.6, 64: 0.6 },
    '1 MiB': { 1: 0.6, 16: 0.6, 64: 0.6, 300: 0.6 },
    '16 MiB': { 1: 0.6, 16: 0.6, 64: 0.6, 300: 0.6 },
  },
};
/** The slowest hundredth of requests is never slower than the Rust crate's. */
const P99_GOAL = 1;

function column({ work = 'request', guests = 'plain', principals = 1, size = SIZES[0], modes = ['one'] }) {
  const { label, bodyBytes, measureMs, minimum } = size;
  const isRequest = ['request', 'reused'].includes(work) && guests === 'plain';
  return {
    name: `${work}, ${guests === 'plain' ? '' : `${guests}, `}${label}, k = ${principals}`,
    label,
    modes,
    goals: {
      p50Us: isRequest ? GOALS.p50Us[label]?.[principals] : undefined,
      p99Us: isRequest ? P99_GOAL : undefined,
      cpuUs: isRequest ? GOALS.cpuUs[label]?.[principals] : undefined,
    },
    command: { work, guests, principals, bodyBytes, measureMs, minimum },
  };
}

/** All columns, in the order in which they run: those of one set of modules follow one another. */
export function allColumns() {
  const modes = Object.keys(MODES);
  return [
    ...PRINCIPALS.flatMap((principals) =>
      SIZES.map((size) => column({ principals, size, modes: principals === 300 ? ['one', 'threads'] : modes })),
    ),
    ...SIZES.slice(1, 3).map((size) => column({ work: 'reused', size, modes })),
    column({ work: 'filter' }),
    column({ work: 'observed' }),
    column({ work: 'event' }),
    ...[1, 16].map((principals) => column({ work: 'stream', principals })),
    ...UNTUNED.flatMap((guests) => [
      column({ guests }),
      column({ guests, principals: 16 }),
      column({ guests, size: SIZES[1], principals: 16 }),
    ]),
  ];
}

/** A selection that takes less than two minutes. */
export function quickColumns() {
  const names = [
    ...['request, 1 KiB, k = 1', 'request, 64 KiB, k = 1', 'request, 1 MiB, k = 1', 'request, 16 MiB, k = 1'],
    ...['request, 1 KiB, k = 16', 'request, 64 KiB, k = 16', 'request, 1 KiB, k = 64', 'filter, 1 KiB, k = 1'],
    ...['event, 1 KiB, k = 1'],
  ];
  return allColumns().filter(({ name }) => names.includes(name));
}
