import { describe, expect, it } from '@jest/globals';
import { planCluster } from '../../src/plan/plan.ts';
import type { EnginePlan, RankPlan } from '../../src/plan/types.ts';
import { canonicalFlag, flagList, resolveFlag } from '../../src/spec/flags.ts';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import { expectGolden } from '../support/golden.ts';
import { anInventory } from '../support/inventories.ts';
import { specFile } from '../support/spec-files.ts';
import { aSpec } from '../support/specs.ts';

type Overrides = NonNullable<Parameters<typeof aSpec>[0]>;

const planOf = (spec: ClusterSpec) =>
  planCluster({ spec, inventory: anInventory(spec), installation: 'ours', deployment: 1 });
const rank = (overrides: Overrides, role: 'prefill' | 'decode' = 'prefill', engine = 0): RankPlan =>
  planOf(aSpec(overrides))[role][engine]!.ranks[0]!;

/** Flags and their values; a bare flag has none. */
function flags(argv: readonly string[]): Record<string, string[]> {
  const found: Record<string, string[]> = {};
  let values: string[] | undefined;
  for (const word of argv) {
    if (word.startsWith('--')) found[word] = values = [];
    else values?.push(word);
  }
  return found;
}

const text = (engines: readonly EnginePlan[]): string =>
  engines
    .flatMap(({ name, ranks }) =>
      ranks.map(
        ({ rank: at, host, argv, env, container }) =>
          `# ${name} rank ${at} on ${host}\n${Object.entries(env)
            .map(([key, value]) => `${key}=${value}\n`)
            .join('')}${argv.join(' ').replaceAll(' --', ' \\\n  --')}\n${JSON.stringify(container, null, 2)}\n`,
      ),
    )
    .join('\n');

describe('the command lines of specs/qwen2.5-72b-mi300x.yaml', () => {
  const spec = specFile('qwen2.5-72b-mi300x.yaml');
  const { prefill, decode } = planOf(spec);

  /** What the dstack tutorial runs, flag for flag. */
  const TUTORIAL: Record<string, string[]> = {
    '--tp': ['8'],
    '--trust-remote-code': [],
    '--disaggregation-transfer-backend': ['mooncake'],
    '--disable-radix-cache': [],
    '--disable-cuda-graph': [],
    '--disable-overlap-schedule': [],
    '--mem-fraction-static': ['0.8'],
    '--max-running-requests': ['1024'],
  };
  /** Where Tandem differs: addresses, discovered devices, weights on the host under their public name, metrics. */
  const OURS = [
    '--model-path',
    '--served-model-name',
    '--host',
    '--port',
    '--disaggregation-ib-device',
    '--enable-metrics',
  ];

  const without = (found: Record<string, string[]>) =>
    Object.fromEntries(Object.entries(found).filter(([flag]) => !OURS.includes(flag)));

  it('equal the tutorial’s for prefill engines', () => {
    const { argv } = prefill[0]!.ranks[0]!;
    expect(argv.slice(0, 3)).toEqual(['python3', '-m', 'sglang.launch_server']);
    expect(without(flags(argv))).toEqual({
      ...TUTORIAL,
      '--disaggregation-mode': ['prefill'],
      '--disaggregation-bootstrap-port': ['8998'],
    });
  });

  it('equal the tutorial’s for decode engines', () => {
    expect(without(flags(decode[0]!.ranks[0]!.argv))).toEqual({
      ...TUTORIAL,
      '--disaggregation-mode': ['decode'],
      '--decode-attention-backend': ['triton'],
    });
  });

  it('carry the discovered devices, the environment and the provider library', () => {
    const { argv, env, container } = prefill[0]!.ranks[0]!;
    expect(flags(argv)['--disaggregation-ib-device']).toEqual([
      'bnxt_re0,bnxt_re1,bnxt_re2,bnxt_re3,bnxt_re4,bnxt_re5,bnxt_re6,bnxt_re7',
    ]);
    expect(env).toEqual({
      SGLANG_HOST_IP: '10.0.0.10',
      SGLANG_USE_AITER: '0',
      SGLANG_ROCM_FUSED_DECODE_MLA: '0',
      SGLANG_DISAGGREGATION_BOOTSTRAP_TIMEOUT: '600',
      SGLANG_DISAGGREGATION_WAITING_TIMEOUT: '600',
      NCCL_IB_DISABLE: '1',
    });
    expect(container!.mounts).toContainEqual({
      source: '/usr/lib64/libibverbs/libbnxt_re-rdmav34.so',
      target: '/usr/lib/x86_64-linux-gnu/libibverbs/libbnxt_re-rdmav34.so',
      readOnly: true,
    });
    expect(container!.privileged).toBe(false);
  });

  it('are these', () => expectGolden('argv-qwen.txt', text([prefill[0]!, decode[0]!])));
});

describe('the command lines of specs/deepseek-r1-mi300x.yaml', () => {
  const { prefill, decode } = planOf(specFile('deepseek-r1-mi300x.yaml'));

  it('join the ranks of an engine at the address of rank 0, each with its own host', () => {
    const ranks = prefill[0]!.ranks.map(({ argv }) => flags(argv));
    expect(ranks.map((rank) => rank['--node-rank'])).toEqual([['0'], ['1']]);
    for (const rank of ranks) {
      expect(rank).toMatchObject({ '--nnodes': ['2'], '--tp': ['16'], '--dist-init-addr': ['192.168.40.10:20000'] });
    }
    expect(ranks.map((rank) => rank['--host'])).toEqual([['192.168.40.10'], ['192.168.40.11']]);
    expect(prefill[0]!.ranks.map(({ env }) => env['SGLANG_HOST_IP'])).toEqual(['192.168.40.10', '192.168.40.11']);
    expect(prefill[0]!.ranks.map(({ ports }) => ports)).toEqual([[30000, 8998, 20000], [30000]]);
  });

  it('are these', () => expectGolden('argv-deepseek.txt', text([...prefill, ...decode])));
});

describe('the flags of an engine', () => {
  it.each(['0.5.10.post1', '0.5.23'])('are all known to SGLang %s', (version) => {
    const list = flagList('sglang', version)!;
    const { prefill } = planOf(specFile('deepseek-r1-mi300x.yaml'));
    const unknown = Object.keys(flags(prefill[0]!.ranks[0]!.argv)).filter(
      (flag) => resolveFlag(list, flag.slice(2)).kind !== 'known',
    );
    expect(unknown).toEqual([]);
    expect(canonicalFlag(list, 'tp')).toBe('tp-size');
  });

  it('of the second engine on a host begin at its first GPU, with ports of its own', () => {
    const { argv, ports } = rank(
      { prefill: { replicas: 2, gpus: { count: 4 } }, decode: { gpus: { count: 4 } } },
      'prefill',
      1,
    );
    expect(flags(argv)).toMatchObject({
      '--base-gpu-id': ['4'],
      '--port': ['30400'],
      '--disaggregation-bootstrap-port': ['9398'],
      '--tp': ['4'],
    });
    expect(ports).toEqual([30400, 9398]);
  });

  it('are merged by the flag, not by its spelling, and the role wins', () => {
    const { argv } = rank(
      { engine: { args: { 'tensor-parallel-size': 8 } }, decode: { args: { tp: 4, 'pp-size': 2 } } },
      'decode',
    );
    expect(argv.filter((word) => /^--(tp|tensor)/.test(word))).toEqual(['--tp']);
    expect(flags(argv)).toMatchObject({ '--tp': ['4'], '--pp-size': ['2'] });
  });

  it('share out the GPUs over pipeline stages', () => {
    expect(flags(rank({ engine: { args: { 'pp-size': 2 } } }).argv)).toMatchObject({
      '--tp': ['4'],
      '--pp-size': ['2'],
    });
  });

  it.each<[string, Overrides, string[]]>([
    ['true as a bare flag', { engine: { args: { 'disable-radix-cache': true } } }, ['--disable-radix-cache']],
    [
      'several values after one flag',
      { engine: { args: { 'prompt-tokens-buckets': ['tse', 1000, 2] } } },
      ['--prompt-tokens-buckets', 'tse', '1000', '2'],
    ],
    [
      'a value that looks like a flag joined to its own',
      { engine: { args: { 'chat-template': '--x' } } },
      ['--chat-template=--x'],
    ],
    ['a negative number likewise', { engine: { args: { 'random-seed': -1 } } }, ['--random-seed=-1']],
    ['an unknown flag as it stands', { engine: { args: { 'brand-new': ['a', 'b'] } } }, ['--brand-new', 'a', 'b']],
    [
      'quotes, blanks and $() as one word',
      { engine: { args: { 'chat-template': `a "b" $(c) 'd'` } } },
      ['--chat-template', `a "b" $(c) 'd'`],
    ],
  ])('write %s', (_, overrides, wanted) => {
    const { argv } = rank(overrides);
    expect(argv.slice(argv.indexOf(wanted[0]!), argv.indexOf(wanted[0]!) + wanted.length)).toEqual(wanted);
  });

  it('leave false out', () => {
    expect(
      rank({ engine: { args: { 'disable-radix-cache': true } }, prefill: { args: { 'disable-radix-cache': false } } })
        .argv,
    ).not.toContain('--disable-radix-cache');
  });

  it('name the file with the keys only where there are keys, and never a key', () => {
    expect(rank({}).argv).not.toContain('--config');
    const { argv, env } = rank({ engine: { apiKey: { fromEnv: 'KEY' } } });
    expect(flags(argv)['--config']).toEqual(['{config}']);
    expect(JSON.stringify([argv, env])).not.toContain('KEY');
  });
});

describe('the environment and container of an engine', () => {
  const SGLANG_HOST_IP = '10.0.0.1';

  it('announce the address of the host to other engines, where it is an address and no name', () => {
    const { list } = aSpec().hosts;
    const at = (fabricAddress: string) =>
      rank({ hosts: { list: list.map((host, index) => (index === 0 ? { ...host, fabricAddress } : host)) } }).env[
        'SGLANG_HOST_IP'
      ];
    expect([at('10.9.0.1'), at('fd00::1'), at('gpu-1.example.com')]).toEqual(['10.9.0.1', 'fd00::1', undefined]);
  });

  it('over tcp have no RDMA device and force Mooncake to tcp', () => {
    const { argv, env, container, nics } = rank({ rdma: { transport: 'tcp' } });
    expect(env).toEqual({ SGLANG_HOST_IP, MC_FORCE_TCP: '1' });
    expect(nics).toEqual([]);
    expect(argv).not.toContain('--disaggregation-ib-device');
    expect(container!.devices).toEqual(['/dev/kfd', '/dev/dri']);
    expect(container!.mounts).toHaveLength(1);
  });

  it('carry a GID index that the spec sets, the user’s value before it', () => {
    expect(rank({ rdma: { gidIndex: 3 } }).env).toEqual({ SGLANG_HOST_IP, MC_GID_INDEX: '3' });
    expect(rank({ rdma: { gidIndex: 3 }, decode: {}, engine: { env: { MC_GID_INDEX: '1' } } }).env).toEqual({
      SGLANG_HOST_IP,
      MC_GID_INDEX: '1',
    });
  });

  it('name the devices to UCX where NIXL carries the cache', () => {
    expect(rank({ rdma: { backend: 'nixl', devices: ['bnxt_re0', 'bnxt_re1'] } }).env).toEqual({
      SGLANG_HOST_IP,
      UCX_NET_DEVICES: 'bnxt_re0:1,bnxt_re1:1',
    });
  });

  it.each([
    ['none', []],
    ['/opt/lib/libx-rdmav34.so', ['/opt/lib/libx-rdmav34.so']],
    ['auto', ['/usr/lib64/libibverbs/libbnxt_re-rdmav34.so']],
  ])('mount the provider library as rdma.providerLibrary says: %s', (providerLibrary, sources) => {
    const { mounts } = rank({ rdma: { providerLibrary } }).container!;
    expect(mounts.slice(1).map(({ source }) => source)).toEqual(sources);
  });

  it('mount the weights read-only where they lie, then the user’s mounts', () => {
    const { mounts } = rank({
      rdma: { providerLibrary: 'none' },
      engine: { mounts: [{ source: '/a', target: '/b' }] },
    }).container!;
    expect(mounts).toEqual([
      { source: '/models/tiny-chat', target: '/models/tiny-chat', readOnly: true },
      { source: '/a', target: '/b', readOnly: true },
    ]);
  });

  it('are those of a process without a container where the spec says so', () => {
    expect(rank({ engine: { runtime: 'process' } }).container).toBeUndefined();
  });
});
