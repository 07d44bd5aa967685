// Quantiles and medians.

/** The median of the finite numbers; null where there are none. */
export function median(numbers) {
  const sorted = numbers.filter(Number.isFinite).sort((a, b) => a - b);
  if (sorted.length === 0) return null;
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Quantiles of durations in µs; sorts the array. */
export function quantiles(micros) {
  micros.sort();
  const at = (share) => micros[Math.min(micros.length - 1, Math.floor(micros.length * share))];
  return { p50Us: at(0.5), p90Us: at(0.9), p99Us: at(0.99), maxUs: at(1) };
}
