import TestSequencer from '@jest/test-sequencer';

/**
 * Suites that take longest, longest first: one that begins last would be waited for alone. A fresh clone knows no times
 * of its own, by which Jest would do the same.
 */
const LONGEST = [
  'e2e/lost',
  'lab/failures',
  'workflows/unwind',
  'e2e/unwind',
  'e2e/crash',
  'e2e/secrets',
  'lab/deploy',
  'workflows/long-life',
  'drivers/picture',
  'e2e/durability',
  'workflows/cancel',
  'e2e/shared-hosts',
  'e2e/two-hosts',
  'drivers/ssh-run',
  'workflows/take-over',
  'e2e/external-router',
  'compose',
  'workflows/batch',
  'e2e/serve',
  'sim/docker',
  'workflows/replay',
  'workflows/deploy',
  'lab/contract',
  'activities/acceptance',
  'e2e/no-worker',
  'lab/lab',
];

export default class LongestFirst extends TestSequencer {
  sort(tests) {
    const place = ({ path }) => {
      const at = LONGEST.findIndex((name) => path.endsWith(`/test/${name}.test.ts`));
      return at < 0 ? LONGEST.length : at;
    };
    return super.sort(tests).toSorted((one, other) => place(one) - place(other));
  }
}
