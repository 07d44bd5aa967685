// Draws the ratios of a run: three bars for each column, and a line at 1 ×.
const WIDTH = 860;
const LEFT = 230;
const RIGHT = 110;
const TOP = 84;
const BAR = 7;
const ROW = 3 * BAR + 10;
/** Larger ratios are truncated; the number next to the bar is exact. */
const MAX_RATIO = 1.5;
const FIGURES = [
  { name: 'p50Us', label: 'p50', color: '#2a6fbb' },
  { name: 'p99Us', label: 'p99', color: '#e0912f' },
  { name: 'cpuUs', label: 'CPU, all threads', color: '#7a8b99' },
];

const SCALE = (WIDTH - LEFT - RIGHT) / MAX_RATIO;
const escapeXml = (text) => text.replace(/[&<>]/g, (character) => `&#${character.charCodeAt(0)};`);

/** Returns an SVG of `columns`, each `{label, ratio}` with this package's figures divided by the Rust crate's. */
export function draw(columns, caption) {
  const height = TOP + columns.length * ROW + 40;
  const rows = columns.flatMap(({ label, ratio }, index) => {
    const top = TOP + index * ROW;
    const bars = FIGURES.map(({ name, color }, place) => {
      const width = Math.min(ratio[name], MAX_RATIO) * SCALE;
      const y = top + place * BAR;
      return `<rect x="${LEFT}" y="${y}" width="${width.toFixed(1)}" height="${BAR - 1}" fill="${color}"/>`;
    });
    const numbers = FIGURES.map(({ name }) => ratio[name].toFixed(2)).join(' / ');
    return [
      `<text x="${LEFT - 10}" y="${top + 14}" text-anchor="end">${escapeXml(label)}</text>`,
      ...bars,
      `<text x="${WIDTH - RIGHT + 10}" y="${top + 14}" fill="#444">${numbers}</text>`,
    ];
  });
  const legend = FIGURES.map(
    ({ label, color }, index) =>
      `<rect x="${LEFT + index * 110}" y="40" width="10" height="10" fill="${color}"/>` +
      `<text x="${LEFT + 15 + index * 110}" y="49">${label}</text>`,
  );
  const lines = [0.5, 1].map((at) => {
    const x = LEFT + at * SCALE;
    return (
      `<line x1="${x}" y1="${TOP - 6}" x2="${x}" y2="${height - 32}" stroke="#999" stroke-dasharray="3 3"/>` +
      `<text x="${x}" y="${TOP - 10}" text-anchor="middle" fill="#666">${at} ×</text>`
    );
  });
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="system-ui, sans-serif" font-size="11">`,
    '<rect width="100%" height="100%" fill="#fff"/>',
    '<text x="16" y="22" font-size="15" font-weight="600">One request (filter and shape), compared with the Rust crate (shorter is better)</text>',
    ...legend,
    ...lines,
    ...rows,
    `<text x="16" y="${height - 12}" fill="#666">${escapeXml(caption)}</text>`,
    '</svg>',
  ].join('\n')}\n`;
}
