import { describe, expect, it } from '@jest/globals';
import { engineArgs, parallelSizes } from '../../src/spec/engine-args.ts';
import {
  canonicalFlag,
  engineVersion,
  flagList,
  listedVersions,
  newestFlagList,
  resolveFlag,
  routerVersion,
} from '../../src/spec/flags.ts';
import { OWN_FLAGS } from '../../src/spec/rules/args.ts';
import { aSpec } from '../support/specs.ts';
import { changedArgs, changed, diagnose, PREFILL } from './diagnose.ts';

describe('args that the version does not take', () => {
  it.each<[string, string, string[]]>([
    [
      'a misspelled flag is told with the nearest',
      changedArgs('mem-fraction-statc: 0.8'),
      [
        '7:11 error engine.args.mem-fraction-statc: unknown flag "mem-fraction-statc" of sglang 0.5.23, did you mean "mem-fraction-static"? → Write mem-fraction-static.',
      ],
    ],
    [
      'underscores in place of dashes are told',
      changedArgs('mem_fraction_static: 0.8'),
      [
        '7:11 error engine.args.mem_fraction_static: unknown flag "mem_fraction_static" of sglang 0.5.23, did you mean "mem-fraction-static"? → Write mem-fraction-static.',
      ],
    ],
    [
      'a flag that is near to none is told',
      changedArgs('quux-zork-flag: 0.8'),
      [
        '7:11 error engine.args.quux-zork-flag: unknown flag "quux-zork-flag" of sglang 0.5.23 → Take it out; sglang 0.5.23 has no such flag.',
      ],
    ],
    [
      'a misspelled flag of a role is told at its line',
      changed([PREFILL, PREFILL.replace(' } }', ' }, args: { chunked-prefill-sise: 1 } }')]),
      [
        '14:70 error prefill.args.chunked-prefill-sise: unknown flag "chunked-prefill-sise" of sglang 0.5.23, did you mean "chunked-prefill-size"? → Write chunked-prefill-size.',
      ],
    ],
    [
      'leading dashes are told to be left out',
      changedArgs('--tp: 8'),
      ['7:11 error engine.args.--tp: flags are written without dashes → Write tp.'],
    ],
    [
      'an ambiguous beginning of a flag is told with all that it could be',
      changedArgs('enable-hier: true, disaggregation: x'),
      [
        '7:30 error engine.args.disaggregation: "disaggregation" could be any of disaggregation-bootstrap-port, disaggregation-decode-allocation-policy, disaggregation-decode-enable-offload-kvcache, disaggregation-decode-enable-radix-cache, disaggregation-decode-extra-slots, disaggregation-decode-host-receive-threshold, disaggregation-decode-polling-interval, disaggregation-decode-retraction-backup, disaggregation-enable-kv-checksum, disaggregation-ib-device, disaggregation-mode, disaggregation-transfer-backend of sglang 0.5.23 → Write the flag out.',
      ],
    ],
    [
      'one flag in two spellings is told',
      changedArgs('tp: 8, tensor-parallel-size: 8'),
      ['7:18 error engine.args.tensor-parallel-size: is the same flag as tp → Keep one of the two.'],
    ],
    [
      'a word for a whole number is refused',
      changedArgs('chunked-prefill-size: many'),
      ['7:33 error engine.args.chunked-prefill-size: takes a whole number, got "many" → Write a whole number.'],
    ],
    [
      'a fraction for a whole number is refused',
      changedArgs('chunked-prefill-size: 1.5'),
      ['7:33 error engine.args.chunked-prefill-size: takes a whole number, got 1.5 → Write a whole number.'],
    ],
    [
      'a bare flag that needs a value is refused',
      changedArgs('chunked-prefill-size: true'),
      [
        '7:33 error engine.args.chunked-prefill-size: takes a whole number, got true → Write the value behind the colon.',
      ],
    ],
    [
      '32x is no whole number',
      changedArgs('context-length: 32x'),
      [
        '7:27 error engine.args.context-length: takes a whole number, also as 32k or 1Ki, got "32x" → Write a whole number.',
      ],
    ],
    [
      '32k is no whole number where the flag does not take it',
      changedArgs('chunked-prefill-size: 32k'),
      ['7:33 error engine.args.chunked-prefill-size: takes a whole number, got "32k" → Write a whole number.'],
    ],
    [
      'a word for a number is refused',
      changedArgs('mem-fraction-static: most'),
      ['7:32 error engine.args.mem-fraction-static: takes a number, got "most" → Write a number.'],
    ],
    [
      'a value of a bare flag is refused',
      changedArgs('trust-remote-code: 5'),
      [
        '7:30 error engine.args.trust-remote-code: takes no value: true or false, got 5 → Write true for the bare flag, or take the line out.',
      ],
    ],
    [
      'a quoted true of a bare flag is refused',
      changedArgs('trust-remote-code: "true"'),
      [
        '7:30 error engine.args.trust-remote-code: takes no value: true or false, got "true" → Write true for the bare flag, or take the line out.',
      ],
    ],
    [
      'a list for a single value is refused',
      changedArgs('tokenizer-path: [a, b]'),
      ['7:27 error engine.args.tokenizer-path: takes text, got a list → Write text.'],
    ],
    [
      'a text read as a number is told as it was written',
      changedArgs('tokenizer-path: 1.10'),
      ['7:27 error engine.args.tokenizer-path: takes text, got the number 1.10 → Quote it: "1.10".'],
    ],
    [
      'a misspelled choice is told with the nearest',
      changedArgs('attention-backend: tritn'),
      [
        '7:30 error engine.args.attention-backend: must be one of triton, torch_native, flex_attention, dsa, nsa, qsa, dsv4, compressed, fa3, fa4, flashinfer, llada2_cfg_flashinfer, flashmla, trtllm_mla, cutedsl_mla, tokenspeed_mla, trtllm_mha, hpc_ops, minicpm_flashattn, minicpm_flashinfer, aiter, wave, intel_amx, ascend, intel_xpu, got "tritn", did you mean "triton"? → Write triton.',
      ],
    ],
    [
      'a choice that is near to none is told with all',
      changedArgs('dtype: int3'),
      [
        '7:18 error engine.args.dtype: must be one of auto, half, float16, bfloat16, float, float32, got "int3" → Write one of these.',
      ],
    ],
    [
      'a wrong choice in a list is told with its index',
      changedArgs('lora-target-modules: [q_proj, q_porj]'),
      [
        '7:41 error engine.args.lora-target-modules[1]: must be one of q_proj, k_proj, v_proj, o_proj, q_a_proj, kv_a_proj_with_mqa, q_b_proj, kv_b_proj, wq_b, wk, weights_proj, gate_proj, up_proj, down_proj, qkv_proj, gate_up_proj, embed_tokens, lm_head, qkvr, wo_ud, all, got "q_porj", did you mean "q_proj"? → Write q_proj.',
      ],
    ],
    [
      'an empty list is refused where one value is needed',
      changedArgs('gc-threshold: []'),
      ['7:25 error engine.args.gc-threshold: takes a list, got an empty list → Write a list.'],
    ],
    [
      'JSON that is none is refused',
      changedArgs('extra-metric-labels: "{a: b}"'),
      [
        '7:32 error engine.args.extra-metric-labels: takes JSON, as quoted text, got "{a: b}" → Write JSON, as quoted text.',
      ],
    ],
    [
      'a deprecated flag warns and says what to use',
      changedArgs('disable-cuda-graph: true'),
      [
        '7:11 warning engine.args.disable-cuda-graph: is deprecated in sglang 0.5.23: use --cuda-graph-backend-{decode,prefill}=disabled → Move away from disable-cuda-graph before it is gone.',
      ],
    ],
    [
      'a flag that Tandem sets is refused with the reason',
      changedArgs('port: 1'),
      ['7:11 error engine.args.port: is set by Tandem: it follows from engine.ports.http → Take port out.'],
    ],
    [
      'a flag that Tandem sets is refused by its other names',
      changedArgs('model: x'),
      ['7:11 error engine.args.model: is set by Tandem: it follows from model.source and model.dir → Take model out.'],
    ],
    [
      'a flag that Tandem sets is refused by its beginning',
      changedArgs('disaggregation-ib: x'),
      [
        '7:11 error engine.args.disaggregation-ib: is set by Tandem: it follows from rdma.devices and the NICs found on the host → Take disaggregation-ib out.',
      ],
    ],
    [
      'keys are refused in args and not repeated',
      changedArgs('config: x, enable-metrics: true, api-key: hunter2'),
      [
        '7:11 error engine.args.config: is set by Tandem: it carries the keys of engine.apiKey and engine.adminKey → Take config out.',
        '7:22 error engine.args.enable-metrics: is set by Tandem: it is always on, since acceptance reads the metrics → Take enable-metrics out.',
        '7:44 error engine.args.api-key: is set by Tandem: it is engine.apiKey, which keeps it off the command line → Take api-key out.',
      ],
    ],
    [
      'of a nightly image an unknown flag only warns, and a wrong choice is refused',
      changed(
        ['  version: 0.5.23\n', ''],
        ['args: {}', 'args: { trust-remot-code: true, zzzz: 1, attention-backend: tritn }'],
      ),
      [
        '6:11 warning engine.args.trust-remot-code: unknown flag "trust-remot-code" of sglang 0.5.23 (a warning only: the tag of a nightly image names the release before it), did you mean "trust-remote-code"? → Set engine.version: 0.5.23 if the image holds exactly that; then this is an error.',
        '6:35 warning engine.args.zzzz: unknown flag "zzzz" of sglang 0.5.23 (a warning only: the tag of a nightly image names the release before it) → Set engine.version: 0.5.23 if the image holds exactly that; then this is an error.',
        '6:63 error engine.args.attention-backend: must be one of triton, torch_native, flex_attention, dsa, nsa, qsa, dsv4, compressed, fa3, fa4, flashinfer, llada2_cfg_flashinfer, flashmla, trtllm_mla, cutedsl_mla, tokenspeed_mla, trtllm_mha, hpc_ops, minicpm_flashattn, minicpm_flashinfer, aiter, wave, intel_amx, ascend, intel_xpu, got "tritn", did you mean "triton"? → Write triton.',
      ],
    ],
    [
      'of a version without a list args are unchecked, and flags that Tandem sets still refused',
      changed(['version: 0.5.23', 'version: 0.4.9'], ['args: {}', 'args: { anything: 1, tp: 8, port: 5 }']),
      [
        '6:12 warning engine.version: args are unchecked: no list of flags of sglang 0.4.9 is known → Set engine.version if it is one of the 17 releases from 0.5.10.post1 to 0.5.23; else read the log should an engine or the router end at once.',
        '7:31 error engine.args.port: is set by Tandem: it follows from engine.ports.http → Take port out.',
      ],
    ],
    [
      'of an image without a version args are unchecked',
      changed(['  version: 0.5.23\n', ''], ['v0.5.23', 'latest'], ['args: {}', 'args: { anything: 1 }']),
      [
        '5:10 warning engine.image: args are unchecked: the image names no version → Set engine.version if it is one of the 17 releases from 0.5.10.post1 to 0.5.23; else read the log should an engine or the router end at once.',
      ],
    ],
    [
      'args of both roles are held against the version of each',
      changed(
        ['  version: 0.5.23\n', ''],
        ['args: {}', 'args: { enable-pd-role-switch: true }'],
        [PREFILL, PREFILL.replace(' } }', ' }, image: "x:v0.5.10.post1" }')],
      ),
      [
        '6:11 warning engine.args.enable-pd-role-switch: unknown flag "enable-pd-role-switch" of sglang 0.5.10.post1 (a warning only: the tag of a nightly image names the release before it) → Set engine.version: 0.5.10.post1 if the image holds exactly that; then this is an error.',
      ],
    ],
    [
      'a misspelled flag of the router is told with the nearest',
      changed(['runtime: process', 'runtime: process, args: { retry-max-retry: 1 }']),
      [
        '16:47 error router.args.retry-max-retry: unknown flag "retry-max-retry" of smg 1.13.0, did you mean "retry-max-retries"? → Write retry-max-retries.',
      ],
    ],
    [
      'flags of the router that Tandem sets are refused with the reason',
      changed(['runtime: process', 'runtime: process, args: { worker-urls: [a], policy: random, pd: true }']),
      [
        '16:47 error router.args.worker-urls: is set by Tandem: engines are registered once they are proven → Take worker-urls out.',
        '16:65 error router.args.policy: is set by Tandem: it is router.policy → Take policy out.',
        '16:81 error router.args.pd: "pd" could be any of pd-admission-wait-secs, pd-disaggregation of smg 1.13.0 → Write the flag out.',
      ],
    ],
    [
      'a misspelled policy is told with the nearest',
      changed(['runtime: process', 'runtime: process, policy: cache_awre']),
      [
        '16:47 error router.policy: must be one of random, round_robin, passthrough, cache_aware, power_of_two, least_load, manual, consistent_hashing, prefix_hash, got "cache_awre", did you mean "cache_aware"? → Write cache_aware.',
      ],
    ],
    [
      'another router has other flags and policies',
      changed([
        'runtime: process',
        'runtime: process, implementation: sglang-router, policy: least_load, args: { kv-index: x }',
      ]),
      [
        '16:78 error router.policy: must be one of random, round_robin, cache_aware, power_of_two, manual, got "least_load" → Write one of these.',
        '16:98 error router.args.kv-index: unknown flag "kv-index" of sglang-router 0.3.2 → Take it out; sglang-router 0.3.2 has no such flag.',
      ],
    ],
    [
      "of a router's version without a list args are unchecked",
      changed(['runtime: process', 'runtime: process, version: 2.0.0, args: { anything: 1 }']),
      [
        '16:48 warning router.version: args are unchecked: no list of flags of smg 2.0.0 is known → Set router.version if it is one of 1.12.0, 1.13.0; else read the log should an engine or the router end at once.',
      ],
    ],
  ])('%s', (_title, text, diagnostics) => {
    expect(diagnose(text)).toEqual(diagnostics);
  });
});

describe('args that the version takes', () => {
  it.each<[string, string]>([
    ['an unambiguous beginning of a flag is that flag, as for argparse', changedArgs('mem-fraction: 0.8')],
    ['a quoted whole number is a whole number', changedArgs('chunked-prefill-size: "4096"')],
    [
      '32k and 1Ki are whole numbers where the flag takes them',
      changedArgs('context-length: 32k, max-total-tokens: 1Ki'),
    ],
    ['a list may be a single value', changedArgs('gc-threshold: 5')],
    ['JSON is quoted text', changedArgs(`extra-metric-labels: '{"a": "b"}'`)],
    ['a flag whose value is optional may stand bare', changedArgs('model-checksum: true')],
    ['false leaves any flag out', changedArgs('chunked-prefill-size: false')],
    ['without args nothing is unchecked', changed(['version: 0.5.23', 'version: 0.4.9'])],
    [
      'a version may have a leading v',
      changed(['version: 0.5.23', 'version: v0.5.23'], ['args: {}', 'args: { trust-remote-code: true }']),
    ],
  ])('%s', (_title, text) => {
    expect(diagnose(text)).toEqual([]);
  });
});

describe('the name of a flag', () => {
  const list = flagList('sglang', '0.5.10.post1')!;

  it.each([
    ['tp-size', 'tp-size'],
    ['tp', 'tp-size'],
    ['tensor-parallel-size', 'tp-size'],
    ['tens', 'tp-size'],
    ['model', 'model-path'],
    ['mem-fraction', 'mem-fraction-static'],
    ['no-such-flag', 'no-such-flag'],
  ])('%s is %s', (name, canonical) => {
    expect(canonicalFlag(list, name)).toBe(canonical);
  });

  it('is the exact one, although others begin so', () => {
    expect(resolveFlag(list, 'lora-target-modules')).toMatchObject({ kind: 'known', name: 'lora-target-modules' });
    expect(resolveFlag({ flags: { ab: { takes: 'int' }, abc: { takes: 'int' } } }, 'ab')).toMatchObject({ name: 'ab' });
  });

  it('is ambiguous where two begin so, and unknown where none does', () => {
    const flags = { 'max-a': { takes: 'int' }, 'max-b': { takes: 'int' } } as const;
    expect(resolveFlag({ flags }, 'max')).toEqual({ kind: 'ambiguous', matches: ['max-a', 'max-b'] });
    expect(resolveFlag({ flags }, 'mux-a')).toEqual({ kind: 'unknown', nearest: 'max-a' });
    expect(resolveFlag({ flags }, 'something')).toEqual({ kind: 'unknown' });
    expect(resolveFlag({ flags }, '')).toEqual({ kind: 'unknown' });
  });
});

describe('the lists of flags', () => {
  it('are those of every SGLang with a wheel since 0.5.10.post1, two of smg and one of sglang-router', () => {
    expect((['sglang', 'smg', 'sglang-router'] as const).map(listedVersions)).toEqual([
      (
        '0.5.10.post1 0.5.11 0.5.12 0.5.12.post1 0.5.13 0.5.13.post1 0.5.14 0.5.15 0.5.15.post1 ' +
        '0.5.16 0.5.17 0.5.18 0.5.19 0.5.20 0.5.21 0.5.22 0.5.23'
      ).split(' '),
      ['1.12.0', '1.13.0'],
      ['0.3.2'],
    ]);
    expect(flagList('sglang', '0.5.24')).toBeUndefined();
  });

  // By hand from the sources of the wheels: where a flag came and went, and what it took meanwhile.
  it.each([
    ['enable-double-sparsity', '0.5.10.post1', '0.5.10.post1'],
    ['multi-item-scoring-delimiter', '0.5.10.post1', '0.5.10.post1'],
    ['custom-sigquit-handler', '0.5.10.post1', '0.5.13.post1'],
    ['torchao-config', '0.5.10.post1', '0.5.17'],
    ['cuda-graph-bs', '0.5.10.post1', '0.5.19'],
    ['keep-mm-feature-on-device', '0.5.10.post1', '0.5.20'],
    ['enable-pd-role-switch', '0.5.21', '0.5.23'],
    ['disaggregation-decode-retraction-backup', '0.5.18', '0.5.23'],
    ['disaggregation-bootstrap-port', '0.5.10.post1', '0.5.23'],
  ])('have %s from %s to %s', (name, first, last) => {
    const having = listedVersions('sglang').filter((version) => flagList('sglang', version)!.flags[name] !== undefined);
    expect([having[0], having.at(-1)]).toEqual([first, last]);
    // Without a gap.
    const all = listedVersions('sglang');
    expect(having).toEqual(all.slice(all.indexOf(first), all.indexOf(last) + 1));
  });

  it('follow what a flag took: choices, counts and names', () => {
    const at = (version: string, name: string) => flagList('sglang', version)!.flags[name];
    expect(at('0.5.10.post1', 'disaggregation-transfer-backend')!.choices).toEqual(
      'mooncake nixl ascend fake mori'.split(' '),
    );
    expect(at('0.5.23', 'disaggregation-transfer-backend')!.choices).toContain('mooncake_tcp');
    expect(at('0.5.10.post1', 'disable-cuda-graph')).toEqual({ takes: 'nothing' });
    expect(at('0.5.19', 'disable-cuda-graph')!.deprecated).toBe('use --cuda-graph-backend-{decode,prefill}=disabled');
    expect(at('0.5.18', 'context-length')).toEqual({ takes: 'int', suffixes: true });
    expect(at('0.5.14', 'tp-size')).toEqual({ takes: 'int', aliases: ['tensor-parallel-size', 'tp'] });
    expect(at('0.5.20', 'lora-paths')).toEqual({ takes: 'list', nargs: '*' });
  });

  it('hold every flag that Tandem sets, so that none is refused by a name that does not exist', () => {
    const known = (names: readonly string[], lists: readonly ReturnType<typeof newestFlagList>[]) =>
      names.filter((name) => !lists.some(({ flags }) => Object.hasOwn(flags, name)));
    expect(known(OWN_FLAGS.engine, [newestFlagList('sglang')])).toEqual([]);
    expect(known(OWN_FLAGS.router, [newestFlagList('smg'), newestFlagList('sglang-router')])).toEqual([]);
  });
});

describe('the version of the engines', () => {
  it.each([
    ['rocm/sgl-dev:v0.5.10.post1-rocm720-mi30x-20260427', '0.5.10.post1'],
    ['registry:5000/sglang:0.5.23@sha256:0123', '0.5.23'],
    ['registry:5000/sglang', undefined],
    ['sglang:latest', undefined],
    ['sglang@sha256:0123', undefined],
    ['sglang:0.5.9rc1', '0.5.9rc1'],
    ['sglang:20260427', undefined],
  ])('of %s is %s, read from the tag', (image, version) => {
    expect(engineVersion(aSpec({ engine: { image } }))).toEqual({ version, exact: false });
  });

  it('is that of engine.version where it is set, and of the image of the role else', () => {
    expect(engineVersion(aSpec({ engine: { version: 'v0.5.9' } }), 'decode')).toEqual({
      version: '0.5.9',
      exact: true,
    });
    const spec = aSpec({ decode: { image: 'x:v0.5.10.post1' } });
    expect(engineVersion(spec, 'decode').version).toBe('0.5.10.post1');
    expect(engineVersion(spec, 'prefill').version).toBe('0.5.23');
  });

  it('is unknown without an image', () => {
    const spec = aSpec({ engine: { image: undefined, runtime: 'process' } });
    expect(engineVersion(spec)).toEqual({ version: undefined, exact: false });
  });
});

describe('the version of the router', () => {
  it.each([
    [{}, '1.13.0'],
    [{ implementation: 'sglang-router' as const }, '0.3.2'],
    [{ version: 'v1.12.0' }, '1.12.0'],
  ])('of %j is %s', (router, version) => {
    expect(routerVersion(aSpec({ router }).router)).toBe(version);
  });

  it('is known of an external one, too', () => {
    const spec = aSpec({ router: { external: { url: 'http://r', version: '1.12.0' } } });
    expect(routerVersion(spec.router)).toBe('1.12.0');
  });
});

describe('the args of a role', () => {
  it('win over those of the engine, however they are spelled', () => {
    const spec = aSpec({
      engine: { args: { tp: 8, 'page-size': 16 } },
      decode: { args: { 'tensor-parallel-size': 4 } },
    });
    expect(Object.fromEntries(engineArgs(spec, 'decode'))).toEqual({
      'tp-size': { value: 4, path: ['decode', 'args', 'tensor-parallel-size'] },
      'page-size': { value: 16, path: ['engine', 'args', 'page-size'] },
    });
  });

  it.each([
    [{}, { gpus: 16, tp: 16, pp: 1, dp: 1, dpAttention: false }],
    [{ 'pp-size': 2 }, { gpus: 16, tp: 8, pp: 2, dp: 1, dpAttention: false }],
    [{ 'attn-dp-size': 4 }, { gpus: 16, tp: 16, pp: 1, dp: 4, dpAttention: true }],
    [
      { tp: 4, 'dp-size': 4 },
      { gpus: 16, tp: 4, pp: 1, dp: 4, dpAttention: false },
    ],
    [{ tp: false }, { gpus: 16, tp: 16, pp: 1, dp: 1, dpAttention: false }],
  ])('%j of an engine over two hosts share its GPUs out', (args, sizes) => {
    expect(parallelSizes(aSpec({ prefill: { hostsPerReplica: 2, args } }), 'prefill')).toEqual(sizes);
  });
});
