import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { availableParallelism } from 'node:os';

/** What `measure` takes on two free cores of 2025, where the limits of the tests were set: milliseconds. */
const SPAWNS_MS = 60;
const HASHES_MS = 60;
const CORES = 2;
const MOST = 20;

/**
 * How many times slower this machine is now than the one on which the limits were set; never less than 1. It is measured
 * once, when a run begins, and handed on as TANDEM_PATIENCE; it takes a third of a second where the machine is free.
 */
export function measurePace() {
  // The slowest of three: what is beside the tests comes and goes.
  const slower = Math.max(measured(), measured(), measured());
  return Math.min(Math.max(1, Math.round(slower * 10) / 10), MOST);
}

function measured() {
  const spawns = timed(() => {
    for (let count = 0; count < 20; count += 1) spawnSync('/bin/sh', ['-c', ':']);
  });
  const hashes = timed(() => {
    const block = Buffer.alloc(1024 ** 2);
    const hash = createHash('sha256');
    for (let count = 0; count < 80; count += 1) hash.update(block);
    hash.digest();
  });
  return Math.max(spawns / SPAWNS_MS, hashes / HASHES_MS) * (CORES / Math.min(CORES, availableParallelism()));
}

function timed(work) {
  const from = performance.now();
  work();
  return performance.now() - from;
}
