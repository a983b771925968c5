import TestSequencer from '@jest/test-sequencer';

/**
 * Suites that take longest, longest first: one that begins last would be waited for alone. A fresh clone knows no times
 * of its own, by which Jest would do the same.
 */
const LONGEST = [
  'lab/failures',
  'e2e/lost',
  'workflows/unwind',
  'workflows/batch',
  'workflows/buttons',
  'drivers/picture',
  'e2e/secrets',
  'e2e/unwind',
  'e2e/evidence',
  'e2e/outages',
  'workflows/blocked',
  'e2e/crash',
  'lab/deploy',
  'workflows/deploy',
  'drivers/ssh-run',
  'lab/contract',
  'e2e/durability',
  'e2e/handover',
  'e2e/external-router',
  'e2e/refused',
  'e2e/serve',
  'e2e/shared-hosts',
  'e2e/two-hosts',
  'cli/session',
  'workflows/take-over',
  'workflows/cancel',
  'sim/engine-golden',
  'sim/engine',
  'e2e/no-worker',
  'e2e/busy',
  'drivers/weights',
  'workflows/long-life',
  'e2e/versions',
  'growth/growth',
  'sim/engine-release',
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
