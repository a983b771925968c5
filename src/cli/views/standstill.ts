import type { Standstill } from '../../standstill.ts';

const WORDS: Record<Standstill['kind'], string> = { 'no-worker': 'no worker', queued: 'queued', blocked: 'BLOCKED' };

/** Why an operation does not go on, since when, and what mends it; nothing where it goes on. */
export function standstillLines(standstill: Standstill | undefined): readonly string[] {
  if (!standstill) return [];
  const { kind, since, why, remedy } = standstill;
  return [`  ${WORDS[kind].padEnd(14)} since ${clockTime(since)}: ${why}`, `  remedy         ${remedy}`];
}

/** The time of day of an ISO 8601 time, in UTC. */
export const clockTime = (iso: string): string => `${iso.slice(11, 19)} UTC`;
