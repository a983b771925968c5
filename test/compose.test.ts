import { execFile, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { beforeAll, describe, expect, it } from '@jest/globals';
import { ATTRIBUTES } from '../workflows/attributes.ts';
import { BUILD_TIMEOUT_MS, loadCompose, type Service } from './compose/loader.ts';

// No Docker is needed: the file is read by Compose's own loader, and its scripts run against a real Temporal server.
const ROOT = join(import.meta.dirname, '..');
const run = promisify(execFile);
const go = spawnSync('go', ['version']).status === 0 ? describe : describe.skip;
go('docker-compose.yml, read by Compose’s own loader', () => {
  let services: Record<string, Service>;
  beforeAll(async () => {
    services = await loadCompose({ TEMPORAL_DB_PASSWORD: 'x' });
  }, BUILD_TIMEOUT_MS);

  it('has the database, the server with its set-up, the UI and a Tandem worker', () => {
    const names = ['postgresql', 'temporal', 'temporal-namespace', 'temporal-schema', 'temporal-ui', 'worker'];
    expect(Object.keys(services).sort()).toEqual(names);
  });

  it('pins every image to a full version, and to a digest where one is known', () => {
    const images = Object.values(services).flatMap(({ image }) => image ?? []);
    const pinned = /:\d+\.\d+(\.\d+)?(@sha256:[0-9a-f]{64})?$/;
    expect(images.filter((image) => !pinned.test(image))).toEqual(['tandem-worker']); // Built here.
    expect(images.filter((image) => !image.includes('@sha256:'))).toEqual(['temporalio/ui:2.54.1', 'tandem-worker']);
    expect(images.filter((image) => image.includes('auto-setup'))).toEqual([]); // No longer built.
  });

  it('listens on 127.0.0.1 alone', () => {
    const ports = Object.values(services).flatMap((service) => service.ports ?? []);
    expect(ports.map(({ published }) => published)).toEqual(['7233', '8080']);
    expect(ports.filter(({ host_ip: address }) => address !== '127.0.0.1')).toEqual([]);
  });

  it('keeps the database in a named volume, and mounts only files that are there', () => {
    const volumes = Object.values(services).flatMap((service) => service.volumes ?? []);
    expect(services['postgresql']!.volumes).toEqual([
      expect.objectContaining({ type: 'volume', source: 'temporal-db', target: '/var/lib/postgresql/data' }),
    ]);
    const binds = volumes.filter(({ type, source }) => type === 'bind' && source.startsWith(ROOT));
    expect(binds.length).toBe(3);
    expect(binds.filter(({ source }) => !existsSync(source))).toEqual([]);
  });

  it('waits only for services that say when they are healthy', () => {
    const waited = Object.values(services).flatMap(({ depends_on: on }) =>
      Object.entries(on ?? {}).filter(([, how]) => (how as { condition: string }).condition === 'service_healthy'),
    );
    expect(waited.length).toBe(3);
    expect(waited.filter(([name]) => !services[name]!.healthcheck)).toEqual([]);
  });

  it('does not start without a password for the database', async () => {
    await expect(loadCompose({})).rejects.toMatchObject({
      stderr: expect.stringMatching(/set TEMPORAL_DB_PASSWORD in \.env/),
    });
  });
});

describe('deploy/temporal/namespace.sh', () => {
  it('makes the namespace with every search attribute, and may run again', async () => {
    const bin = join(ROOT, '.venv', 'bin');
    const executable = { type: 'existing-path', path: join(bin, 'temporal') } as const;
    const server = await TestWorkflowEnvironment.createLocal({ server: { executable } });
    try {
      const env = { PATH: `${bin}:${process.env['PATH']}`, HOME: '/nonexistent', TEMPORAL_ADDRESS: server.address };
      for (const _ of ['first', 'again']) await run('sh', [join(ROOT, 'deploy/temporal/namespace.sh')], { env });
      const { operatorService, workflowService } = server.connection;
      const namespace = 'tandem';
      const { customAttributes } = await operatorService.listSearchAttributes({ namespace });
      const types = Object.fromEntries(
        Object.entries(customAttributes ?? {}).filter(([name]) => name.startsWith('Tandem')),
      );
      const wanted = Object.values(ATTRIBUTES).map(({ name, type }) => [name, type === 'INT' ? 3 : 2]); // As the API numbers them.
      expect(types).toEqual(Object.fromEntries(wanted));
      const { config } = await workflowService.describeNamespace({ namespace });
      expect(Number(config?.workflowExecutionRetentionTtl?.seconds)).toBe(90 * 86_400);
    } finally {
      await server.teardown();
    }
  });
});
