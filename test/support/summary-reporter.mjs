import { writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Tells the guard what was skipped and how many passed, failed and were skipped, anew after each suite, so that a run
 * that is cut off is told too; without a guard it prints them as the last line. A suite that did not run failed.
 */
export default class SummaryReporter {
  onTestResult(_test, _result, results) {
    if (process.env.TANDEM_TEST_RUN !== undefined)
      writeFileSync(join(process.env.TANDEM_TEST_RUN, 'summary.json'), JSON.stringify(numbers(results)));
  }

  onRunComplete(_contexts, results) {
    this.onTestResult(undefined, undefined, results);
    if (process.env.TANDEM_TEST_RUN !== undefined) return;
    const { passed, failed, skipped, titles } = numbers(results);
    const lines = [
      ...titles.map((title) => `skipped: ${title}`),
      `${passed} passed, ${failed} failed, ${skipped} skipped`,
    ];
    // Jest's own summary comes after this call, so the last word is said when the process ends.
    process.on('exit', () => writeSync(1, `${lines.join('\n')}\n`));
  }
}

function numbers({ testResults, numPassedTests, numFailedTests, numRuntimeErrorTestSuites }) {
  const skipped = testResults
    .flatMap((suite) => suite.testResults)
    .filter(({ status }) => status !== 'passed' && status !== 'failed');
  return {
    passed: numPassedTests,
    failed: numFailedTests + numRuntimeErrorTestSuites,
    skipped: skipped.length,
    titles: skipped.map(({ fullName }) => fullName),
  };
}
