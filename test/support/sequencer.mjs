import TestSequencer from '@jest/test-sequencer';

/**
 * Suites that take longest, longest first: one that begins last would be waited for alone. A fresh clone knows no times
 * of its own, by which Jest would do the same.
 */
const LONGEST = [
  'lab/failures',
  'e2e/lost',
  'workflows/unwind',
  'e2e/unwind',
  'e2e/crash',
  'drivers/picture',
  'e2e/secrets',
  'workflows/buttons',
  'lab/deploy',
  'workflows/blocked',
  'e2e/outages',
  'lab/contract',
  'workflows/batch',
  'e2e/evidence',
  'e2e/durability',
  'e2e/shared-hosts',
  'drivers/ssh-run',
  'workflows/cancel',
  'workflows/deploy',
  'e2e/external-router',
  'e2e/handover',
  'e2e/refused',
  'e2e/serve',
  'e2e/two-hosts',
  'workflows/take-over',
  'cli/session',
  'workflows/long-life',
  'sim/engine-golden',
  'e2e/no-worker',
  'sim/engine',
  'growth/growth',
  'e2e/busy',
  'compose',
  'drivers/weights',
  'e2e/versions',
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
