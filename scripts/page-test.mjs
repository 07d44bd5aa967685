// `npm run test:page`: the status page of the load balancer in headless Chromium. Not a part of `npm test`, because it
// needs a browser: CHROMIUM names its program, /usr/bin/chromium is the default.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { compileLoadBalancer } from './load-balancer.mjs';
import { PLUGIN_SETS, startBalancer, startScript } from './loadtest/contestants.mjs';
import { bodyOf, turn } from './loadtest/measure.mjs';
import { setUp } from './setup.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const HOSTILE = '<img src=x onerror="document.title=\'owned\'">\u001b[31m\nnext line';

setUp();
compileLoadBalancer();

const folder = mkdtempSync(join(tmpdir(), 'page-test-'));
const upstream = await startScript('upstream', './upstream.mjs');
const plugins = [...PLUGIN_SETS['filter + shape'], { kind: 'observe', name: HOSTILE, file: 'lifecycle' }];
const balancer = await startBalancer('page test', upstream.url, { plugins, workers: 2, folder });
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox'],
});
let passed = 0;
try {
  const page = await browser.newPage({ viewport: { width: 1_200, height: 1_100 } });
  const errors = [];
  page.on('pageerror', (error) => errors.push(error));
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(new Error(message.text()));
  });
  await page.goto(balancer.admin);
  await check('says that the balancer is ready', () => hasText(page, '#ready', 'ready'));
  await check('lists the workers', async () => (await page.locator('#workers tr').count()) === 3);

  await turn(balancer, { body: bodyOf(1_000), durationMs: 1_500, connections: 4 });
  await check('counts requests', async () => Number(await page.textContent('#total')) > 0);
  await check('shows the last requests with their decisions', () => hasText(page, '#recent', 'cache-aware kept 1'));
  await check('shows plugins with their calls', () => hasText(page, '#plugins', 'rewrite'));
  await check('draws the rate', async () => (await page.getAttribute('#line', 'points')).includes(' '));

  writeFileSync(join(folder, 'bad.wasm'), HOSTILE);
  await check('shows rejected plugins', () => hasText(page, '#rejections', 'bad'));
  await check('shows hostile names as text', async () => {
    const text = await page.textContent('#plugins');
    return (
      text.includes('<img src=x') &&
      (await page.locator('img').count()) === 0 &&
      (await page.title()) === 'Load balancer'
    );
  });
  await check('reports no error', async () => errors.length === 0);
  const picture = join(root, 'build', 'status-page.png');
  await page.screenshot({ path: picture });
  console.log(`wrote ${picture}`);
} finally {
  await browser.close();
  await balancer.close();
  upstream.close();
  rmSync(folder, { recursive: true });
}
console.log(`${passed} passed, 0 failed`);

/** Waits until `holds`, for at most ten seconds. */
async function check(title, holds) {
  for (const until = Date.now() + 10_000; !(await holds()); ) {
    assert.ok(Date.now() < until, `the page ${title}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  console.log(`✓ ${title}`);
  passed++;
}

async function hasText(page, selector, text) {
  return (await page.textContent(selector)).includes(text);
}
