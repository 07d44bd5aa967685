// Draws a bar chart of requests per second for the documents.

const WIDTH = 720;
const LEFT = 250;
const BAR = 18;
const GAP = 6;
const COLORS = ['#8b949e', '#2f81f7', '#3fb950', '#d29922'];

/** Returns an SVG of the results of the section `requests`. */
export function draw(results, machine) {
  const parts = [];
  let y = 56;
  for (const { label, rows } of results) {
    parts.push(`<text x="16" y="${y}" font-weight="600">requests of ${label}</text>`);
    y += 12;
    const top = Math.max(...rows.map(({ perSecond }) => perSecond));
    for (const [index, { name, perSecond, share }] of rows.entries()) {
      const width = ((WIDTH - LEFT - 130) * perSecond) / top;
      parts.push(
        `<text x="${LEFT - 10}" y="${y + 13}" text-anchor="end">${name}</text>`,
        `<rect x="${LEFT}" y="${y}" width="${width.toFixed(1)}" height="${BAR}" rx="3" fill="${COLORS[index]}"/>`,
        `<text x="${LEFT + width + 8}" y="${y + 13}">${perSecond.toFixed(0)}/s, ${(share * 100).toFixed(0)} %</text>`,
      );
      y += BAR + GAP;
    }
    y += 26;
  }
  const style = 'font-family="system-ui, sans-serif" font-size="12" fill="#57606a"';
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y}" ${style}>
<rect width="${WIDTH}" height="${y}" fill="#ffffff"/>
<text x="16" y="26" font-size="14" font-weight="600" fill="#1b1f24">Requests per second, one worker, and the share of the bare proxy</text>
${parts.join('\n')}
<text x="16" y="${y - 8}" font-size="10">${machine}; npm run loadtest</text>
</svg>
`;
}
