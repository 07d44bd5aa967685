/**
 * Conditions of the system under which a scenario runs. Each function returns a function that ends the condition, or
 * undefined if the system does not support it or this process may not set it.
 */
import { spawn } from 'node:child_process';
import { accessSync, constants, existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Ends a condition; returns a report for the summary. */
export type End = () => Promise<string>;

const COMPACT = '/proc/sys/vm/compact_memory';
const HUGE_PAGES = '/sys/kernel/mm/transparent_hugepage/enabled';
const CGROUPS = '/sys/fs/cgroup';
const COMPACT_EVERY_MS = 20;

/** Compacts memory repeatedly from a separate process, so that the kernel migrates pages of running calls. */
export function compactMemory(): End | undefined {
  if (!writable(COMPACT)) return undefined;
  const program = `
    const { writeFileSync } = require('node:fs');
    let count = 0;
    process.on('message', () => process.send(count, () => process.exit()));
    process.on('disconnect', () => process.exit());
    setInterval(() => { writeFileSync('${COMPACT}', '1'); count++; }, ${COMPACT_EVERY_MS});`;
  const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  return () =>
    new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('message', (count) => resolve(`memory compacted ${count} times`));
      child.send('end');
    });
}

/** Enables huge pages for every mapping of the system until the end. */
export function useHugePages(): End | undefined {
  if (!writable(HUGE_PAGES)) return undefined;
  const before = /\[(\w+)\]/.exec(readFileSync(HUGE_PAGES, 'utf8'))?.[1];
  if (before === undefined) return undefined;
  const restore = () => writeFileSync(HUGE_PAGES, before);
  writeFileSync(HUGE_PAGES, 'always');
  process.once('exit', restore);
  return async () => {
    process.off('exit', restore);
    restore();
    return 'transparent huge pages set to always';
  };
}

/** Moves this process into a memory cgroup (of version 1 or 2) with a limit for later allocations. */
export function limitMemory(bytes: number): End | undefined {
  const group = memoryCgroup();
  if (group === undefined) return undefined;
  const { parent, limit, events } = group;
  const folder = join(parent, `torture-${process.pid}`);
  try {
    mkdirSync(folder);
    writeFileSync(join(folder, limit), String(bytes));
    writeFileSync(join(folder, 'cgroup.procs'), String(process.pid));
  } catch {
    if (existsSync(folder)) rmdirSync(folder);
    return undefined;
  }
  return async () => {
    const counts = readFileSync(join(folder, events), 'utf8').trim().replaceAll('\n', ', ');
    writeFileSync(join(parent, 'cgroup.procs'), String(process.pid));
    rmdirSync(folder);
    return `memory cgroup of ${bytes / 1024 / 1024} MiB (${counts})`;
  };
}

/** The memory cgroup of this process and the names of its files. */
function memoryCgroup(): { parent: string; limit: string; events: string } | undefined {
  if (!existsSync('/proc/self/cgroup')) return undefined;
  const lines = readFileSync('/proc/self/cgroup', 'utf8').trim().split('\n');
  for (const line of lines) {
    const [, controllers, path] = line.split(':') as [string, string, string];
    if (controllers.split(',').includes('memory')) {
      const parent = join(CGROUPS, 'memory', path);
      if (existsSync(parent)) return { parent, limit: 'memory.limit_in_bytes', events: 'memory.failcnt' };
    }
    const parent = join(CGROUPS, path);
    if (controllers === '' && existsSync(join(parent, 'memory.max'))) {
      return { parent, limit: 'memory.max', events: 'memory.events' };
    }
  }
  return undefined;
}

function writable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
