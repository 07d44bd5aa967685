/** Prints the report, and fails if a claim does not hold. */
import assert from 'node:assert/strict';

const LABEL_WIDTH = 34;

/** Prints the heading of a section. */
export function section(title: string): void {
  console.log(`\n${title}\n${'─'.repeat(title.length)}`);
}

/** Checks a claim and prints it as a line. */
export function claim(label: string, holds: boolean, ...details: string[]): void {
  assert.ok(holds, `${label}: ${details.join(' ')}`);
  console.log(`  ✓ ${label.padEnd(LABEL_WIDTH)} ${details.join('  ')}`.trimEnd());
}

/** Prints aligned columns with headings. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = headings.map((heading, i) => Math.max(heading.length, ...rows.map((row) => row[i]!.length)));
  for (const row of [headings, ...rows]) {
    console.log(`    ${row.map((cell, i) => cell.padEnd(widths[i]!)).join('   ')}`.trimEnd());
  }
}
