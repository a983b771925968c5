import { describe, expect, it } from '@jest/globals';
import { BASE, changedArgs, changed, diagnose, PREFILL, DECODE, ROUTER, ROUTER_HOST } from './diagnose.ts';

describe('keys that do not fit together', () => {
  it.each<[string, string, string[]]>([
    [
      'two hosts of one name are refused',
      changed(['name: d0', 'name: p0']),
      [
        '12:15 error hosts.list[1].name: p0 is here twice, hosts.list[0].name has it too → Give every host its own name.',
      ],
    ],
    [
      'two hosts at one address and port are refused',
      changed(['10.0.0.2', '10.0.0.1']),
      [
        '12:28 error hosts.list[1].address: 10.0.0.1 port 22 is here twice, hosts.list[0].address has it too → List every machine once.',
      ],
    ],
    [
      'two hosts with GPUs at one fabric address are refused',
      changed(['address: 10.0.0.2', 'address: 10.0.0.2, fabricAddress: 10.0.0.1']),
      [
        '12:53 error hosts.list[1].fabricAddress: engines of p0 and d0 would both be at 10.0.0.1 → Give each host with GPUs its own fabricAddress.',
      ],
    ],
    [
      'two hosts with GPUs behind one address need fabric addresses',
      changed(['address: 10.0.0.2', 'address: 10.0.0.1, port: 23']),
      [
        '12:28 error hosts.list[1].address: engines of p0 and d0 would both be at 10.0.0.1 → Give each host with GPUs its own fabricAddress.',
      ],
    ],
    [
      "a role's unknown and repeated hosts are told",
      changed([PREFILL, PREFILL.replace(' } }', ' }, hosts: [p1, p0, p0] }')]),
      [
        '14:70 error prefill.hosts[0]: no host is named "p1", did you mean "p0"? → Write p0.',
        '14:78 error prefill.hosts[2]: p0 is here twice → Name every host once.',
      ],
    ],
    [
      "a role's host that is near to none is told with those there are",
      changed([PREFILL, PREFILL.replace(' } }', ' }, hosts: [elsewhere] }')]),
      ['14:70 error prefill.hosts[0]: no host is named "elsewhere" → Add it to hosts.list, or name one of p0, d0, r0.'],
    ],
    [
      'a router on an unknown host is refused',
      changed(['host: r0', 'host: router-0']),
      ['16:17 error router.host: no host is named "router-0" → Add it to hosts.list, or name one of p0, d0, r0.'],
    ],
    [
      'a password for sudo without sudo warns',
      changed(['ssh: { user: ops }', 'ssh: { user: ops, becomePassword: { fromEnv: A } }']),
      [
        '9:37 warning hosts.ssh.becomePassword: is not used while hosts.ssh.become is none → Set hosts.ssh.become: sudo, or take the password out.',
      ],
    ],
    [
      'a GPU product that no host has is told with the nearest',
      changed([DECODE, DECODE.replace('MI300X', 'MI325X')]),
      ['15:41 error decode.gpus.product: no host has MI325X GPUs, did you mean "MI300X"? → The hosts have MI300X.'],
    ],
    [
      'a GPU product that is near to none is told with those there are',
      changed([DECODE, DECODE.replace('MI300X', 'H100')]),
      ['15:41 error decode.gpus.product: no host has H100 GPUs → The hosts have MI300X.'],
    ],
    [
      'more GPUs on one host than the largest has are refused',
      changed([PREFILL, PREFILL.replace('count: 8', 'count: 16')]),
      [
        '14:57 error prefill.gpus.count: 16 MI300X GPUs are wanted on one host, the largest has 8 → Lower count and raise hostsPerReplica: an engine may span hosts.',
        '15:56 warning decode.gpus.count: tp-size is 16 of prefill and 8 of decode: models without latent attention crash so under load (sgl-project/sglang 15674) → Give both roles the same tensor-parallel size, unless this model has latent attention.',
      ],
    ],
    [
      'an engine over more hosts than can hold a part of it is refused',
      changed([PREFILL, PREFILL.replace('replicas: 1', 'replicas: 1, hostsPerReplica: 3')]),
      [
        '14:42 error prefill.hostsPerReplica: an engine spans 3 hosts, 2 hosts can hold a part of it → Lower hostsPerReplica, or add hosts.',
        '15:56 warning decode.gpus.count: tp-size is 24 of prefill and 8 of decode: models without latent attention crash so under load (sgl-project/sglang 15674) → Give both roles the same tensor-parallel size, unless this model has latent attention.',
      ],
    ],
    [
      'more engines of a role than its hosts have room for are refused',
      changed([DECODE, DECODE.replace('replicas: 1', 'replicas: 3')]),
      [
        '15:21 error decode.replicas: 3 × 8 MI300X GPUs are wanted, the hosts have room for 2 such engines → Lower replicas, or add hosts.',
      ],
    ],
    [
      'GPUs left over on a host are no room for a part of an engine',
      changed([PREFILL, PREFILL.replace('replicas: 1', 'replicas: 3').replace('count: 8', 'count: 5')]),
      [
        '14:22 error prefill.replicas: 3 × 5 MI300X GPUs are wanted, the hosts have room for 2 such engines → Lower replicas, or add hosts.',
        '15:56 warning decode.gpus.count: tp-size is 5 of prefill and 8 of decode: models without latent attention crash so under load (sgl-project/sglang 15674) → Give both roles the same tensor-parallel size, unless this model has latent attention.',
      ],
    ],
    [
      'both roles together want no more GPUs than there are',
      changed([DECODE, DECODE.replace('replicas: 1', 'replicas: 2')]),
      [
        '15:21 error decode.replicas: prefill and decode together want 8 + 16 MI300X GPUs, the hosts have 16 → Lower replicas of prefill or decode, or add hosts.',
      ],
    ],
    [
      'the room is counted among the hosts that the role names',
      changed([DECODE, DECODE.replace('replicas: 1', 'replicas: 2').replace(' } }', ' }, hosts: [d0] }')]),
      [
        '15:21 error decode.replicas: 2 × 8 MI300X GPUs are wanted, the hosts among decode.hosts have room for 1 such engines → Lower replicas, or add hosts.',
      ],
    ],
    [
      'two roles that name one host share its GPUs',
      changed(
        [PREFILL, PREFILL.replace(' } }', ' }, hosts: [p0] }')],
        [DECODE, DECODE.replace(' } }', ' }, hosts: [p0] }')],
      ),
      [
        '15:21 error decode.replicas: prefill and decode together want 8 + 8 MI300X GPUs, the hosts have 8 → Lower replicas of prefill or decode, or add hosts.',
      ],
    ],
    [
      'two equal port bases are refused',
      changed(['args: {}', 'ports: { http: 30000, distInit: 30000 }']),
      [
        '7:35 error engine.ports.distInit: meets engine.ports.http at port 30000: engines take a port every 100 from each base → Move it away from 30000.',
      ],
    ],
    [
      "port bases that meet in a later engine's ports are refused",
      changed(
        ['args: {}', 'ports: { http: 30000, distInit: 30300 }'],
        [PREFILL, PREFILL.replace('count: 8', 'count: 2')],
        [DECODE, DECODE.replace('count: 8', 'count: 2')],
      ),
      [
        '7:35 error engine.ports.distInit: meets engine.ports.http at port 30300: engines take a port every 100 from each base → Move it away from 30000.',
      ],
    ],
    [
      'port bases closer than the stride warn',
      changed(['args: {}', 'ports: { http: 30000, distInit: 30001 }']),
      [
        '7:35 warning engine.ports.distInit: is 1 from engine.ports.http, and SGLang takes more ports behind each → Keep the bases 100 or more apart.',
      ],
    ],
    [
      'a port base whose last engine is past 65535 is refused',
      changed(
        ['args: {}', 'ports: { http: 65500 }'],
        [PREFILL, PREFILL.replace('count: 8', 'count: 2')],
        [DECODE, DECODE.replace('count: 8', 'count: 2')],
      ),
      [
        '7:18 error engine.ports.http: 65500 goes up to 66100 on a host with 8 GPUs, ports end at 65535 → Lower it by 565 or more.',
      ],
    ],
    [
      'the ports of the bandwidth test are not those of an engine',
      BASE + 'rdma: { testPort: 29990 }\n',
      [
        '17:19 error rdma.testPort: meets engine.ports.http at port 30000: engines take a port every 100 from each base → Move it away from 30000.',
      ],
    ],
    [
      "a router on an engine's host and port is refused",
      changed(['host: r0', 'host: d0']),
      [
        '16:1 error router.port: 30000 on d0 is also a port of its engines, by engine.ports.http → Choose another router.port, or a router.host without engines.',
      ],
    ],
    [
      "a router on an engine's bootstrap port is refused",
      changed(['host: r0', 'host: d0, port: 8998']),
      [
        '16:27 error router.port: 8998 on d0 is also a port of its engines, by engine.ports.bootstrap → Choose another router.port, or a router.host without engines.',
      ],
    ],
    [
      "a router that binds every address meets the engine's",
      changed(['host: r0', 'host: d0, listen: 0.0.0.0']),
      [
        '16:1 error router.port: 30000 on d0 is also a port of its engines, by engine.ports.http → Choose another router.port, or a router.host without engines.',
      ],
    ],
    [
      'a tensor-parallel size above the GPUs is refused for each role',
      changedArgs('tp: 16'),
      [
        '7:15 error engine.args.tp: tp-size 16 wants 16 GPUs, a prefill engine has 8 (8 on one host) → Take the size out, which gives tp-size 8, or change prefill.gpus.count.',
        '7:15 error engine.args.tp: tp-size 16 wants 16 GPUs, a decode engine has 8 (8 on one host) → Take the size out, which gives tp-size 8, or change decode.gpus.count.',
      ],
    ],
    [
      'a tensor-parallel size below the GPUs warns of idle ones',
      changedArgs('tp: 4'),
      [
        '7:15 warning engine.args.tp: tp-size 4 wants 4 GPUs, a prefill engine has 8 (8 on one host): the rest would be leased and idle → Set prefill.gpus.count: 4.',
        '7:15 warning engine.args.tp: tp-size 4 wants 4 GPUs, a decode engine has 8 (8 on one host): the rest would be leased and idle → Set decode.gpus.count: 4.',
      ],
    ],
    [
      'a tensor-parallel size of 0 is refused',
      changedArgs('tensor-parallel-size: 0'),
      ['7:33 error engine.args.tensor-parallel-size: must be at least 1 → Write how many ranks there are.'],
    ],
    [
      'tensor times pipeline ranks above the GPUs are refused',
      changedArgs('tp-size: 8, pp-size: 2'),
      [
        '7:20 error engine.args.tp-size: tp-size 8 × pp-size 2 wants 16 GPUs, a prefill engine has 8 (8 on one host) → Take the size out, which gives tp-size 4, or change prefill.gpus.count.',
        '7:20 error engine.args.tp-size: tp-size 8 × pp-size 2 wants 16 GPUs, a decode engine has 8 (8 on one host) → Take the size out, which gives tp-size 4, or change decode.gpus.count.',
      ],
    ],
    [
      'pipeline ranks that do not divide the GPUs are refused',
      changedArgs('pp-size: 3'),
      [
        '7:20 error engine.args.pp-size: 3 groups of ranks cannot share the GPUs evenly: a prefill engine has 8 (8 on one host) → Choose a number that divides 8.',
        '7:20 error engine.args.pp-size: 3 groups of ranks cannot share the GPUs evenly: a decode engine has 8 (8 on one host) → Choose a number that divides 8.',
      ],
    ],
    [
      'tensor times data ranks above the GPUs are refused',
      changedArgs('tp: 8, dp: 2'),
      [
        '7:15 error engine.args.tp: tp-size 8 × dp-size 2 wants 16 GPUs, a prefill engine has 8 (8 on one host) → Take the size out, which gives tp-size 4, or change prefill.gpus.count.',
        '7:15 error engine.args.tp: tp-size 8 × dp-size 2 wants 16 GPUs, a decode engine has 8 (8 on one host) → Take the size out, which gives tp-size 4, or change decode.gpus.count.',
      ],
    ],
    [
      'data ranks that do not divide the tensor ranks are refused with data-parallel attention',
      changedArgs('tp: 8, dp-size: 3, enable-dp-attention: true'),
      [
        '7:27 error engine.args.dp-size: dp-size 3 does not divide tp-size 8, which data-parallel attention needs → Choose a dp-size that divides 8.',
        '7:30 warning engine.args.enable-dp-attention: is deprecated in sglang 0.5.23: use --attn-dp-size <dp-size> → Move away from enable-dp-attention before it is gone.',
      ],
    ],
    [
      'an engine over two hosts fills both',
      changed(
        ['args: {}', 'args: { tp: 8 }'],
        [PREFILL, PREFILL.replace('replicas: 1', 'replicas: 1, hostsPerReplica: 2')],
        [ROUTER_HOST, ROUTER_HOST + '    - { name: d1, address: 10.0.0.4, gpus: { product: MI300X, count: 8 } }\n'],
      ),
      [
        '7:15 error engine.args.tp: tp-size 8 wants 8 GPUs, a prefill engine has 16 (8 on each of 2 hosts) → Take the size out, which gives tp-size 16, or change prefill.gpus.count.',
      ],
    ],
    [
      'data ranks over two hosts need data-parallel attention',
      changed(
        ['args: {}', 'args: { dp-size: 2 }'],
        [PREFILL, PREFILL.replace('replicas: 1', 'replicas: 1, hostsPerReplica: 2')],
        [ROUTER_HOST, ROUTER_HOST + '    - { name: d1, address: 10.0.0.4, gpus: { product: MI300X, count: 8 } }\n'],
      ),
      [
        '7:20 error engine.args.dp-size: dp-size 2 over 2 hosts needs data-parallel attention → Set attn-dp-size (enable-dp-attention in older versions), or hostsPerReplica: 1.',
        '16:56 warning decode.gpus.count: tp-size is 8 of prefill and 4 of decode: models without latent attention crash so under load (sgl-project/sglang 15674) → Give both roles the same tensor-parallel size, unless this model has latent attention.',
      ],
    ],
    [
      'roles with two tensor-parallel sizes warn',
      changed([PREFILL, PREFILL.replace('count: 8', 'count: 4')]),
      [
        '15:56 warning decode.gpus.count: tp-size is 4 of prefill and 8 of decode: models without latent attention crash so under load (sgl-project/sglang 15674) → Give both roles the same tensor-parallel size, unless this model has latent attention.',
      ],
    ],
    [
      'a distilled model has not the attention that its name says',
      changed(
        [PREFILL, PREFILL.replace('count: 8', 'count: 4')],
        ['id: a/b', 'id: deepseek-ai/DeepSeek-R1-Distill-Llama-70B'],
      ),
      [
        '15:56 warning decode.gpus.count: tp-size is 4 of prefill and 8 of decode: models without latent attention crash so under load (sgl-project/sglang 15674) → Give both roles the same tensor-parallel size, unless this model has latent attention.',
      ],
    ],
    [
      'each flag of the KV cache that the roles do not share is refused, and shared ones are not',
      changed(
        [PREFILL, PREFILL.replace(' } }', ' }, args: { kv-cache-dtype: fp8_e4m3, page-size: 16 } }')],
        [DECODE, DECODE.replace(' } }', ' }, args: { dtype: bfloat16 , page-size: 16 } }')],
      ),
      [
        '14:86 error prefill.args.kv-cache-dtype: kv-cache-dtype is fp8_e4m3 of prefill and the default of decode; they hand the KV cache over, so it must be the same → Set kv-cache-dtype once, under engine.args.',
        '15:76 error decode.args.dtype: dtype is the default of prefill and bfloat16 of decode; they hand the KV cache over, so it must be the same → Set dtype once, under engine.args.',
      ],
    ],
    [
      'a transfer backend other than rdma.backend is refused',
      changedArgs('disaggregation-transfer-backend: mori'),
      [
        '7:44 error engine.args.disaggregation-transfer-backend: is mori, and rdma.backend is mooncake → Set rdma.backend, and take the flag out.',
      ],
    ],
    [
      'a transfer backend of one role only is refused',
      changed([PREFILL, PREFILL.replace(' } }', ' }, args: { disaggregation-transfer-backend: mori } }')]),
      [
        '14:103 error prefill.args.disaggregation-transfer-backend: disaggregation-transfer-backend is mori of prefill and mooncake of decode; they hand the KV cache over, so it must be the same → Set disaggregation-transfer-backend once, under engine.args.',
      ],
    ],
    [
      'engines in Docker without an image are refused',
      changed(['  image: rocm/sgl-dev:v0.5.23\n', '']),
      [
        '4:1 error engine.image: is missing: prefill and decode engines run in Docker → Set engine.image, or engine.runtime: process where the program is installed.',
      ],
    ],
    [
      'a role in Docker without an image is refused',
      changed(['  image: rocm/sgl-dev:v0.5.23\n', ''], [PREFILL, PREFILL.replace(' } }', ' }, image: x }')]),
      [
        '4:1 error engine.image: is missing: decode engines run in Docker → Set engine.image, or engine.runtime: process where the program is installed.',
      ],
    ],
    [
      'a router in Docker without an image is refused',
      changed([', runtime: process', '']),
      [
        '16:1 error router.image: is missing: the router runs in Docker → Set router.image, or router.runtime: process where the program is installed.',
      ],
    ],
    [
      'weights from nowhere are refused',
      changed(['file:///models/b', '/models/b']),
      [
        '3:27 error model.source: must begin with hf://, https://, rsync:// or file://, got "/models/b" → Write hf://a/b@REVISION for a model of the Hugging Face Hub.',
      ],
    ],
    [
      'a model of the Hub without an organisation is refused',
      changed(['file:///models/b', 'hf://b@main']),
      [
        '3:27 error model.source: must be hf://ORG/NAME@REVISION, got "hf://b@main" → Name organisation, model and revision.',
      ],
    ],
    [
      'a model of the Hub without a revision warns',
      changed(['file:///models/b', 'hf://a/b']),
      [
        '3:27 warning model.source: names no revision, so the main branch is meant, which moves → Append @ and the commit that the model page shows.',
      ],
    ],
    [
      'a login in the source warns and is not repeated',
      changed(['file:///models/b', 'https://u:hunter2@h/b/']),
      [
        '3:27 warning model.source: holds a login, which then stands in every history → Take it out, and use model.token.',
      ],
    ],
    [
      'a login in the mirror warns and is not repeated',
      changed(['args: {}', 'pull: { mirror: "http://u:hunter2@h" }']),
      [
        '7:19 warning engine.pull.mirror: holds a login, which then stands in every history → Take it out, and let the container engine know it.',
      ],
    ],
    [
      'variables that look like secrets warn, others that only sound so do not',
      changed([
        'args: {}',
        'env: { HF_TOKEN: hf_hunter2, TOKENIZERS_PARALLELISM: "1", MAX_TOKENS: "5", AWS_SECRET_ACCESS_KEY: hunter2, http_proxy: "http://u:hunter2@p" }',
      ]),
      [
        '7:10 warning engine.env.HF_TOKEN: looks like a secret written out, which then stands in every history → Move it to engine.secretEnv: {HF_TOKEN: {fromEnv: HF_TOKEN}}.',
        '7:78 warning engine.env.AWS_SECRET_ACCESS_KEY: looks like a secret written out, which then stands in every history → Move it to engine.secretEnv: {AWS_SECRET_ACCESS_KEY: {fromEnv: AWS_SECRET_ACCESS_KEY}}.',
        '7:110 warning engine.env.http_proxy: looks like a secret written out, which then stands in every history → Move it to engine.secretEnv: {http_proxy: {fromEnv: http_proxy}}.',
      ],
    ],
    [
      "a router's variable that looks like a secret warns",
      changed(['runtime: process', 'runtime: process, env: { API_KEY: hunter2 }']),
      [
        '16:46 warning router.env.API_KEY: looks like a secret written out, which then stands in every history → Take it out, and use router.apiKey or router.adminKey.',
      ],
    ],
    [
      'a variable that is plain and secret is refused',
      changed(['args: {}', 'env: { A: x }\n  secretEnv: { A: { fromEnv: A } }']),
      ['7:10 error engine.env.A: is set by engine.secretEnv, too → Keep one of the two.'],
    ],
    [
      "a role's plain variable that is secret for both is refused",
      changed(
        ['args: {}', 'secretEnv: { A: { fromEnv: A } }'],
        [PREFILL, PREFILL.replace(' } }', ' }, env: { A: x } }')],
      ),
      ['14:69 error prefill.env.A: is set by engine.secretEnv, too → Keep one of the two.'],
    ],
    [
      'a secret whose name docker reads itself is refused',
      changed(
        ['args: {}', 'secretEnv: { DOCKER_AUTH: { fromEnv: A } }'],
        [DECODE, DECODE.replace(' } }', ' }, secretEnv: { LD_KEY: { fromEnv: A } } }')],
      ),
      [
        '7:16 error engine.secretEnv.DOCKER_AUTH: is a name that docker reads itself, so its value would show in the process list of the host → Give the variable another name.',
        '15:74 error decode.secretEnv.LD_KEY: is a name that docker reads itself, so its value would show in the process list of the host → Give the variable another name.',
      ],
    ],
    [
      "a router's key that is not the engines' is refused",
      changed(['args: {}', 'apiKey: { fromEnv: A }'], [ROUTER, ROUTER.replace(' }', ', apiKey: { fromFile: A } }')]),
      [
        '16:47 error router.apiKey: is another secret than engine.apiKey, and the router passes the key of a client on to the engines → Write router.apiKey: { fromEnv: A } as engine.apiKey has it, or leave one of the two out.',
      ],
    ],
    [
      "an external router's key that is not the engines' is refused",
      changed(
        ['args: {}', 'apiKey: { fromFile: /k }'],
        [ROUTER, 'router: { external: { url: "http://10.0.0.9", apiKey: { fromFile: /l } } }'],
      ),
      [
        '16:55 error router.external.apiKey: is another secret than engine.apiKey, and the router passes the key of a client on to the engines → Write router.external.apiKey: { fromFile: /k } as engine.apiKey has it, or leave one of the two out.',
      ],
    ],
    [
      'KV over TCP warns',
      BASE + 'rdma: { transport: tcp }\n',
      [
        '17:20 warning rdma.transport: tcp carries the KV cache slowly, and requests have hung so on MI300X (sgl-project/sglang 23342) → Set rdma.transport: rdma where the hosts have RDMA devices.',
      ],
    ],
    [
      'an upgrade that could never move is refused',
      BASE + 'upgrade: { maxUnavailable: { decode: 0 } }\n',
      [
        '17:38 error upgrade.maxUnavailable.decode: is 0 and upgrade.surge is 0, so no decode engine could ever be changed → Set upgrade.maxUnavailable.decode or upgrade.surge to 1.',
      ],
    ],
    [
      'more requests at a time than there are warn',
      BASE + 'acceptance: { requests: 4 }\n',
      [
        '17:1 warning acceptance.concurrency: is 8, more than the 4 of acceptance.requests → Raise acceptance.requests, or lower concurrency.',
      ],
    ],
  ])('%s', (_title, text, diagnostics) => {
    expect(diagnose(text)).toEqual(diagnostics);
  });
});

describe('keys that fit together', () => {
  it.each<[string, string]>([
    [
      'one address with two SSH ports may be two machines',
      changed(['address: 10.0.0.3', 'address: 10.0.0.1, port: 23']),
    ],
    [
      'a waiver is not judged where the checks are not known',
      BASE + 'checks: { waive: [{ check: anything, reason: x }] }\n',
    ],
    [
      'engines of both roles may share a host',
      changed(
        [PREFILL, PREFILL.replace('count: 8', 'count: 4')],
        [DECODE, 'decode: { replicas: 3, gpus: { product: MI300X, count: 4 } }'],
      ),
    ],
    [
      'the same bases are fine where each host holds one engine',
      changed(['args: {}', 'ports: { http: 30000, distInit: 30300 }']),
    ],
    ["a router on an engine's host with a port of its own is fine", changed(['host: r0', 'host: d0, port: 31999'])],
    [
      "a router on an engine's host with an address of its own is fine",
      changed(['host: r0', 'host: d0, listen: 10.9.0.2']),
    ],
    ['the tensor-parallel size may be written out', changedArgs('tp: 8')],
    ['the tensor-parallel size follows from pipeline ranks', changedArgs('pp-size: 2')],
    ['the tensor-parallel size follows from data ranks', changedArgs('dp-size: 2')],
    ['with data-parallel attention the data ranks share the GPUs', changedArgs('dp-size: 8, attn-dp-size: 8')],
    [
      'models with latent attention may have two tensor-parallel sizes',
      changed([PREFILL, PREFILL.replace('count: 8', 'count: 4')], ['id: a/b', 'id: deepseek-ai/DeepSeek-R1']),
    ],
    ['engines that are processes need no image', changed(['  image: rocm/sgl-dev:v0.5.23\n', '  runtime: process\n'])],
    ['an upgrade may move by surge alone', BASE + 'upgrade: { maxUnavailable: { decode: 0 }, surge: 1 }\n'],
  ])('%s', (_title, text) => {
    expect(diagnose(text)).toEqual([]);
  });
});

describe('waivers', () => {
  const text = `${BASE}checks: { waive: [{ check: numa-balancin, reason: x, host: p9 }, { check: zzz, reason: x }] }\n`;

  it('of unknown checks and hosts are told by a caller who knows the checks', () => {
    expect(diagnose(text, { checkNames: ['numa-balancing', 'rocm-version'] })).toEqual([
      '17:28 error checks.waive[0].check: no check is named "numa-balancin", did you mean "numa-balancing"? → Write numa-balancing.',
      '17:60 error checks.waive[0].host: no host is named "p9", did you mean "p0"? → Write p0.',
      '17:75 error checks.waive[1].check: no check is named "zzz" → The checks are numa-balancing, rocm-version.',
    ]);
  });

  it('are judged by their hosts alone where the checks are not known', () => {
    expect(diagnose(text)).toEqual([
      '17:60 error checks.waive[0].host: no host is named "p9", did you mean "p0"? → Write p0.',
    ]);
  });
});
