import { execa } from 'execa';
import { describe, expect, it } from '@jest/globals';
import { planCluster } from '../../src/plan/plan.ts';
import type { ManagedRouterSpec } from '../../src/spec/schema.ts';
import { anInventory } from '../support/inventories.ts';
import { PYTHON } from '../support/smg.ts';
import { SHIPPED, specFile } from '../support/spec-files.ts';

/** Reads a command line as smg does when it starts, values included, and prints what it understood. */
const PARSE = [
  'import json, sys',
  'from smg.launch_router import parse_router_args',
  'args = parse_router_args(sys.argv[1:])',
  'args._validate_router_args()',
  'print(json.dumps({"host": args.host, "port": args.port, "pd": args.pd_disaggregation, "key": args.api_key}))',
].join('\n');
const parse = (words: readonly string[]) => execa(PYTHON, ['-c', PARSE, ...words], { reject: false });

describe('smg’s own parser', () => {
  it.each(SHIPPED)(
    'takes the command line of the router of specs/%s, with the keys that the host adds',
    async (name) => {
      const spec = specFile(name);
      const { router } = planCluster({ spec, inventory: anInventory(spec), installation: 'ours', deployment: 1 });
      if (router.kind !== 'managed') throw new Error(`the router of ${name} is not a managed one`);
      expect(router.argv.slice(0, 3)).toEqual(['python3', '-m', 'smg.launch_router']);
      const keys = ['--api-key=of-clients', '--control-plane-api-keys=tandem:tandem:admin:of-control'];
      const { stdout, stderr, exitCode } = await parse([...router.argv.slice(3), ...keys]);
      expect({ exitCode, stderr: exitCode === 0 ? '' : stderr }).toEqual({ exitCode: 0, stderr: '' });
      const { port } = spec.router as ManagedRouterSpec;
      const host = router.argv[router.argv.indexOf('--host') + 1];
      expect(JSON.parse(stdout)).toEqual({ host, port, pd: true, key: 'of-clients' });
    },
  );

  it('refuses what it does not know', async () => {
    const { exitCode, stderr } = await parse(['--pd-disaggregation', '--no-such-flag']);
    expect(stderr).toContain('unrecognized arguments: --no-such-flag');
    expect(exitCode).toBe(2);
  });
});
