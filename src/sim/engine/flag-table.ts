import { flagList, newestFlagList } from '../../spec/flags.ts';
import type { FlagTable } from './flags.ts';

/** The flags of one version of SGLang, by their names without dashes; those of the newest for a version without a list. */
export const flagTable = (version: string): FlagTable =>
  (flagList('sglang', version) ?? newestFlagList('sglang')).flags as FlagTable;
