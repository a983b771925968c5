import { availableParallelism } from 'node:os';
import { measurePace } from './test/support/pace.mjs';

process.env.TANDEM_PATIENCE ??= String(measurePace()); // Read by test/support/patience.ts in every worker.

export default {
  testEnvironment: './test/support/environment.mjs',
  // Jest would turn what a suite leaves on the global object into getters that warn when they are read, and to warn of
  // something that has a `constructor` of its own reads that, without end (RangeError).
  testEnvironmentOptions: { globalsCleanup: 'off' },
  testSequencer: './test/support/sequencer.mjs',
  reporters: ['default', '<rootDir>/test/support/summary-reporter.mjs'],
  extensionsToTreatAsEsm: ['.ts'],
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      {
        jsc: { target: 'es2022', parser: { syntax: 'typescript' }, experimental: { keepImportAttributes: true } },
        module: { type: 'es6' },
        sourceMaps: 'inline',
      },
    ],
  },
  testMatch: ['<rootDir>/test/**/*.test.ts'],
  // The last resort: what a test waits for has a limit of its own, which names it.
  testTimeout: 600_000 * Number(process.env.TANDEM_PATIENCE),
  // A suite that asks hosts for answers waits for a good part of its time.
  maxWorkers: Math.min(availableParallelism() + 1, 6),
  // Every command of a test starts processes, and a fork of a large process is slow.
  workerIdleMemoryLimit: '300MB',
  cacheDirectory: '<rootDir>/node_modules/.cache/jest', // Not in the folder of one run.
  watchman: false, // It would go on after the run.
};
