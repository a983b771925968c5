import older from '../../spec/flags/sglang@0.5.10.post1.json' with { type: 'json' };
import newest from '../../spec/flags/sglang@0.5.23.json' with { type: 'json' };
import type { FlagRow, FlagTable } from './flags.ts';

const TABLES: Readonly<Record<string, FlagTable>> = {
  '0.5.10.post1': older.flags as Record<string, FlagRow>,
  '0.5.23': newest.flags as Record<string, FlagRow>,
};

/** The flags of one version of SGLang, by their names without dashes; those of 0.5.23 for a version without a list. */
export function flagTable(version: string): FlagTable {
  return TABLES[version] ?? TABLES['0.5.23'] ?? {};
}
