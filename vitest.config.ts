import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Guests trap by signals and a test may end its process on purpose: each file has a process of its own.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // On a busy machine, what a test waits for may take many times as long as the second of the default.
    expect: { poll: { timeout: 30_000 } },
  },
});
