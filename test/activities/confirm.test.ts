import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { createConfirmActivities, type ConfirmHost } from '../../activities/confirm.ts';
import { createEngineActivities } from '../../activities/engines.ts';
import type { DeployError } from '../../src/errors.ts';
import { localDrivers, localHost, type LocalHost } from '../support/local-host.ts';
import { aContainer, anEngine } from '../support/plan-rows.ts';
import { standIn, type StandIn } from '../support/stand-in-engine.ts';

const ADDRESS = '127.84.10.1';
const engine = anEngine('prefill', { host: 'h0', address: ADDRESS });
let host: LocalHost;
let running: StandIn;
beforeEach(async () => {
  host = await localHost('h0', ADDRESS, (unit) => {
    if (unit.name === engine.name) return (running = standIn(ADDRESS, 30000, 'prefill'));
    return undefined;
  });
  await createEngineActivities(localDrivers([host]), (text) => text).startRank({
    ref: host.ref,
    engine,
    rank: 0,
    cluster: 'c',
    installation: 'inst',
  });
  await running.listening;
});
afterEach(async () => {
  await host.close();
});

const confirm = (rest: Partial<ConfirmHost> = {}) =>
  createConfirmActivities(localDrivers([host])).confirmHost({
    ref: host.ref,
    cluster: 'c',
    engines: [engine],
    ...rest,
  });
const differences = async (rest: Partial<ConfirmHost> = {}): Promise<string> =>
  await confirm(rest).then(
    () => 'as planned',
    (error: DeployError) => {
      expect(error).toMatchObject({ code: 'NOT_AS_PLANNED', host: 'h0', retryable: false });
      return error.evidence!;
    },
  );
const unit = () => host.units.get(engine.name)!;
const stranger = async (name: string) => {
  await host.runtime('process').start({
    name,
    labels: { 'tandem.cluster': 'c' },
    argv: ['sleep', '60'],
    env: {},
    stopTimeoutSeconds: 1,
  });
};

describe('what runs on a host', () => {
  it('is as planned when units, command lines and answers are those of the plan', async () => {
    expect(await differences({ version: '0.5.23' })).toBe('as planned');
  });

  it('differs when the engine was started with another command line', async () => {
    unit().state = { ...unit().state, argv: ['python3', '--other'] };
    expect(await differences()).toMatch(
      /was started as \["python3","--other"\], the plan has \["python3",.*"--port","30000"\]/,
    );
  });

  it('differs when the engine is of another digest', async () => {
    unit().state = { ...unit().state, labels: { ...unit().state.labels, 'tandem.engine': 'old' } };
    expect(await differences()).toBe(`${engine.name} has digest old, the plan has ${engine.digest}`);
  });

  it('differs when the engine says another role, name or version, all of them told', async () => {
    running.answers = { role: 'decode', model: 'other' };
    expect(await differences({ version: '0.5.24' })).toBe(
      [
        `${engine.name} says its role is decode, the plan has prefill`,
        `${engine.name} serves the model as other, the plan has m`,
        `${engine.name} says its version is 0.5.23, the plan has 0.5.24`,
      ].join('\n'),
    );
  });

  it('differs when the engine died, also when something else answers on its port', async () => {
    running.exit(137);
    await running.exited;
    const other = standIn(ADDRESS, 30000, 'prefill');
    await other.listening;
    expect(await differences()).toBe(`${engine.name} does not run (exit code 137)`);
    other.exit(0);
    await other.exited;
  });

  it('differs when the engine was never started', async () => {
    await host.runtime('process').remove(engine.name);
    expect(await differences()).toMatch(`${engine.name} is not there\n${engine.name} does not say what it is: `);
  });

  it('differs when something else of the cluster is there, unless it is leaving and stopped', async () => {
    await stranger('tandem-c-decode-7-1');
    expect(await differences()).toBe('tandem-c-decode-7-1 is there and runs, and not in the plan');
    expect(await differences({ leaving: ['tandem-c-decode-7-1'] })).toMatch('and runs');
    await host.runtime('process').stop('tandem-c-decode-7-1', { timeoutSeconds: 1 });
    expect(await differences()).toBe('tandem-c-decode-7-1 is there, and not in the plan');
    expect(await differences({ leaving: ['tandem-c-decode-7-1'] })).toBe('as planned');
  });

  it('differs when the image is not the one that was fetched', async () => {
    const container = aContainer({ image: 'r:t' });
    const inContainer = { ...engine, ranks: [{ ...engine.ranks[0]!, container }] };
    unit().state = { ...unit().state, imageId: 'sha256:b' };
    expect(await differences({ engines: [inContainer], imageIds: { 'r:t': 'sha256:a' } })).toBe(
      `${engine.name} runs image sha256:b, the plan has sha256:a`,
    );
  });
});
