/** Prints what happened, and fails where something that is claimed did not. */
import assert from 'node:assert/strict';

const LABEL_WIDTH = 34;

/** A section of the report. */
export function section(title: string): void {
  console.log(`\n${title}\n${'─'.repeat(title.length)}`);
}

/** One line of a section: the claim is checked before it is printed. */
export function claim(label: string, holds: boolean, ...details: string[]): void {
  assert.ok(holds, `${label}: ${details.join(' ')}`);
  console.log(`  ✓ ${label.padEnd(LABEL_WIDTH)} ${details.join('  ')}`.trimEnd());
}

/** Aligned columns under a heading each. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = headings.map((heading, i) => Math.max(heading.length, ...rows.map((row) => row[i]!.length)));
  for (const row of [headings, ...rows]) {
    console.log(`    ${row.map((cell, i) => cell.padEnd(widths[i]!)).join('   ')}`.trimEnd());
  }
}
