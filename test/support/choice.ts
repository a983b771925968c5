/** Whether a suite runs every case that there is (`npm run test:exhaustive`) or a choice that fits into `npm test`. */
export const EVERY_CASE = process.env['TANDEM_CASES'] === 'every';

/** Each `step`-th of the rows, from `first` on; all of them where every case is asked for. */
export const some = <T>(rows: readonly T[], step: number, first = 0): readonly T[] =>
  EVERY_CASE ? rows : rows.filter((_, index) => index % step === first % step);
