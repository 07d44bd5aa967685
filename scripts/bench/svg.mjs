// The table as a picture: a bar for each ratio, a tick for its goal, a line at 1 ×.
const WIDTH = 860;
const ROW = 18;
const LEFT = 250;
const SCALE = 460;

const escapeXml = (text) => text.replace(/[&<>]/g, (character) => `&#${character.charCodeAt(0)};`);

/** An SVG of the cells' ratios; a shorter bar is a faster call than the Rust original's. */
export function draw(cells, machine) {
  const height = cells.length * ROW + 76;
  const rows = cells.map(({ step, size, config, ratio, goal, ours, rust }, index) => {
    const y = 50 + index * ROW;
    const width = Math.min(ratio, 1.2) * SCALE;
    const colour = goal === null ? '#8aa' : ratio <= goal ? '#2a8c5a' : '#c8862a';
    const tick =
      goal === null ? '' : `<rect x="${LEFT + goal * SCALE - 1}" y="${y}" width="2" height="14" fill="#222"/>`;
    return `<text x="${LEFT - 8}" y="${y + 11}" text-anchor="end">${escapeXml(`${step} ${size}, ${config}`)}</text>
<rect x="${LEFT}" y="${y + 1}" width="${width.toFixed(1)}" height="12" rx="2" fill="${colour}"/>${tick}
<text x="${LEFT + width + 6}" y="${y + 11}" fill="#444">${ratio.toFixed(2)} × (${ours.p50Us.toFixed(1)} / ${rust.p50Us.toFixed(1)} µs)</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="system-ui, sans-serif" font-size="11">
<rect width="100%" height="100%" fill="#fff"/>
<text x="16" y="22" font-size="15" font-weight="600">Time of a call against the Rust original (shorter is faster; tick: goal)</text>
<line x1="${LEFT + SCALE}" y1="40" x2="${LEFT + SCALE}" y2="${height - 26}" stroke="#999" stroke-dasharray="3 3"/>
<text x="${LEFT + SCALE}" y="38" text-anchor="middle" fill="#666">1 ×</text>
${rows.join('\n')}
<text x="16" y="${height - 10}" fill="#666">${escapeXml(`${machine}; p50, typed call to typed answer, npm run bench`)}</text>
</svg>
`;
}
