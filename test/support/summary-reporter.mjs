import { writeSync } from 'node:fs';

/** Prints what was skipped, and as the very last line "N passed, N failed, N skipped". A suite that did not run failed. */
export default class SummaryReporter {
  onRunComplete(_contexts, results) {
    const skipped = results.testResults.flatMap(({ testResults }) =>
      testResults.filter(({ status }) => status !== 'passed' && status !== 'failed'),
    );
    const titles = skipped.map(({ fullName }) => `skipped: ${fullName}\n`).join('');
    const failed = results.numFailedTests + results.numRuntimeErrorTestSuites;
    const line = `${results.numPassedTests} passed, ${failed} failed, ${skipped.length} skipped\n`;
    // Jest's own summary comes after this call, so the last word is said when the process ends.
    process.on('exit', () => writeSync(1, titles + line));
  }
}
