import { describe, expect, it } from '@jest/globals';
import { BASE, changedArgs, changed, diagnose, PREFILL, ROUTER, ROUTER_HOST } from './diagnose.ts';

describe('a key or a value that the schema does not take', () => {
  it.each<[string, string, string[]]>([
    [
      'an unknown key is told with the nearest known one',
      BASE + 'rdma:\n  minGpbs: 5\n',
      ['18:3 error rdma: unknown key "minGpbs", did you mean "minGbps"? → Write minGbps.'],
    ],
    [
      'an unknown key far from all known ones is told with these',
      BASE + 'foo: 1\n',
      [
        '17:1 error : unknown key "foo" → The keys here are specVersion, name, site, model, engine, hosts, prefill, decode, rocm, rdma, checks, router, acceptance, upgrade.',
      ],
    ],
    [
      'an unknown key inside a section is told with the keys of that section',
      BASE + 'rdma: { bandwidth: 5 }\n',
      [
        '17:9 error rdma: unknown key "bandwidth" → The keys here are transport, backend, devices, gidIndex, providerLibrary, minLinkGbps, minGbps, coverage, testSeconds, testPort, measureServing.',
      ],
    ],
    [
      'a revision of its own is told to be written into the source',
      changed(['source: file:///models/b', 'source: hf://a/b, revision: 0123456']),
      [
        '3:27 warning model.source: names no revision, so the main branch is meant, which moves → Append @ and the commit that the model page shows.',
        '3:37 error model: unknown key "revision" → Write it at the end of model.source: hf://ORG/NAME@REVISION.',
      ],
    ],
    [
      'a missing key is told at the top',
      changed(['name: tiny\n', '']),
      ['1:1 error name: is missing → Add name: name of the cluster.'],
    ],
    [
      'a missing key of a section is told at the section',
      changed([PREFILL, PREFILL.replace('replicas: 1, ', '')]),
      ['14:1 error prefill.replicas: is missing → Add replicas: number of prefill engines.'],
    ],
    [
      'a missing key of a host is told at the host',
      changed([ROUTER_HOST, ROUTER_HOST.replace('address: 10.0.0.3, ', '')]),
      [
        '13:7 error hosts.list[2].address: is missing → Add address: address by which the Temporal worker reaches the host.',
      ],
    ],
    [
      'a section without anything in it is told',
      changed([PREFILL, 'prefill:\n']),
      [
        '14:9 error prefill: must be a mapping, got nothing → Correct prefill: the engines that compute the KV cache of a prompt.',
      ],
    ],
    [
      'null is no text',
      changed(['user: ops', 'user: null']),
      ['9:16 error hosts.ssh.user: must be text, got null → Quote it: "null".'],
    ],
    [
      'a number that is too low is told with the least',
      changed([PREFILL, PREFILL.replace('replicas: 1', 'replicas: 0')]),
      ['14:22 error prefill.replicas: must be at least 1, got 0 → Correct replicas: number of prefill engines.'],
    ],
    [
      'half a replica is told',
      changed([PREFILL, PREFILL.replace('replicas: 1', 'replicas: 1.5')]),
      ['14:22 error prefill.replicas: must be a whole number, got 1.5 → Correct replicas: number of prefill engines.'],
    ],
    [
      'a quoted number is told to lose its quotes',
      changed([PREFILL, PREFILL.replace('replicas: 1', 'replicas: "1"')]),
      ['14:22 error prefill.replicas: must be a number, got "1" → Leave the quotes out.'],
    ],
    [
      'a word is no number',
      changed([PREFILL, PREFILL.replace('replicas: 1', 'replicas: two')]),
      ['14:22 error prefill.replicas: must be a number, got "two" → Correct replicas: number of prefill engines.'],
    ],
    [
      'a bandwidth of 0 is told',
      BASE + 'rdma: { minGbps: 0 }\n',
      [
        '17:18 error rdma.minGbps: must be more than 0, got 0 → Correct minGbps: lowest accepted measured bandwidth of every link, in gigabits per second. Default 90 % of the slower port’s rate.',
      ],
    ],
    [
      'a number that is too high is told with the most',
      BASE + 'rdma: { testSeconds: 61 }\n',
      [
        '17:22 error rdma.testSeconds: must be at most 60, got 61 → Correct testSeconds: length of one bandwidth test, in seconds. Default 2.',
      ],
    ],
    [
      'a privileged port of the managed router is told with its meaning',
      changed(['runtime: process', 'runtime: process, port: 80']),
      ['16:45 error router.port: must be at least 1024, got 80 → Correct port: port of the router. Default 30000.'],
    ],
    [
      'an image read as a number is told as it was written, and not as missing',
      changed(['image: rocm/sgl-dev:v0.5.23', 'image: 1.10']),
      ['5:10 error engine.image: must be text, got the number 1.10 → Quote it: "1.10".'],
    ],
    [
      'a version read as a number is told as it was written',
      changed(['version: 0.5.23', 'version: 0.50']),
      ['6:12 error engine.version: must be text, got the number 0.50 → Quote it: "0.50".'],
    ],
    [
      'a name read as a hexadecimal number is told as it was written',
      changed(['name: tiny', 'name: 0x10']),
      ['2:7 error name: must be text, got the number 0x10 → Quote it: "0x10".'],
    ],
    [
      'environment values that are no text are each told how to be written',
      changed(['args: {}', 'env: { SGLANG_USE_AITER: 0, A: true, B: , C: ~ }']),
      [
        '7:28 error engine.env.SGLANG_USE_AITER: must be text, got the number 0 → Quote it: "0".',
        '7:34 error engine.env.A: must be text, got true → Quote it: "true".',
        '7:43 error engine.env.B: must be text, got nothing → Write the value behind the colon, or "" for an empty text.',
        '7:48 error engine.env.C: must be text, got null → Quote it: "~".',
      ],
    ],
    [
      "a variable's name that no shell takes is refused",
      changed(['args: {}', 'env: { "A-B": x }']),
      ['7:10 error engine.env.A-B: must be the name of an environment variable, got "A-B" → Rename it.'],
    ],
    [
      'an empty text is told',
      changed(['image: rocm/sgl-dev:v0.5.23', 'image: ""']),
      [
        '5:10 error engine.image: must not be empty, got an empty text → Correct image: container image of the engines. Needed with runtime docker; @sha256:… pins it.',
      ],
    ],
    [
      'a name with capitals is told with the rule',
      changed(['name: tiny', 'name: Tiny_1']),
      [
        '2:7 error name: must be lower-case letters, digits and dashes, at most 40, a letter first, got "Tiny_1" → Correct name: name of the cluster.',
      ],
    ],
    [
      'an address that ssh would take for an option is refused',
      changed(['10.0.0.3', '-oProxyCommand=x']),
      [
        '13:28 error hosts.list[2].address: must be a host name or an IP address, got "-oProxyCommand=x" → Correct address: address by which the Temporal worker reaches the host.',
      ],
    ],
    [
      'a user that ssh would take for an option is refused',
      changed(['user: ops', 'user: -l']),
      ['9:16 error hosts.ssh.user: must be the name of a user, got "-l" → Correct user: user to log in as.'],
    ],
    [
      'another specVersion is told',
      changed(['specVersion: 1', 'specVersion: 2']),
      ['1:14 error specVersion: must be 1, got 2 → Write 1.'],
    ],
    [
      'a misspelled choice is told with the nearest',
      BASE + 'rdma: { transport: rmda }\n',
      ['17:20 error rdma.transport: must be one of rdma, tcp, got "rmda", did you mean "rdma"? → Write rdma.'],
    ],
    [
      'a choice that is near to none is told with all',
      BASE + 'rdma: { transport: infiniband }\n',
      [
        '17:20 error rdma.transport: must be one of rdma, tcp, got "infiniband" → Correct transport: what carries the KV cache: rdma, or tcp (slow; warns). Default rdma.',
      ],
    ],
    [
      'yes is text in YAML 1.2, and told to be true',
      changed(['args: {}', 'privileged: yes']),
      ['7:15 error engine.privileged: must be true or false, got "yes" → Write true.'],
    ],
    [
      'off is told to be false',
      changed(['args: {}', 'privileged: off']),
      ['7:15 error engine.privileged: must be true or false, got "off" → Write false.'],
    ],
    [
      'a number is no truth value',
      changed(['args: {}', 'privileged: 1']),
      [
        '7:15 error engine.privileged: must be true or false, got 1 → Correct privileged: run the containers privileged instead of with named devices. Default false.',
      ],
    ],
    [
      'a single value is no list',
      changed(['args: {}', 'devices: /dev/kfd']),
      [
        '7:12 error engine.devices: must be a list, got "/dev/kfd" → Correct devices: devices given to the containers. Default /dev/kfd, /dev/dri, /dev/infiniband.',
      ],
    ],
    [
      'an element that is no text is told with its index',
      changed(['args: {}', 'devices: [/dev/kfd, 5]']),
      ['7:23 error engine.devices[1]: must be text, got the number 5 → Quote it: "5".'],
    ],
    [
      'an empty command is told',
      changed(['args: {}', 'command: []']),
      [
        '7:12 error engine.command: must have at least 1 entry, got an empty list → Correct command: the program that starts an engine. Default [python3, -m, sglang.launch_server].',
      ],
    ],
    [
      'a number is no section',
      changed([PREFILL, 'prefill: 2']),
      [
        '14:10 error prefill: must be a mapping, got 2 → Correct prefill: the engines that compute the KV cache of a prompt.',
      ],
    ],
    [
      'a device outside of a list is told what is wanted',
      BASE + 'rdma: { devices: mlx5_0 }\n',
      [
        '17:18 error rdma.devices: must be auto or a list of RDMA device names, got "mlx5_0" → Correct devices: RDMA devices to use on each host, or auto: all that it has. An engine gets those of its GPUs, and each that it gets must be up. Default auto.',
      ],
    ],
    [
      'an empty list of devices is told',
      BASE + 'rdma: { devices: [] }\n',
      [
        '17:18 error rdma.devices: must have at least 1 entry, got an empty list → Correct devices: RDMA devices to use on each host, or auto: all that it has. An engine gets those of its GPUs, and each that it gets must be up. Default auto.',
      ],
    ],
    [
      'a wrong device inside the list is told, not the list',
      BASE + 'rdma: { devices: [mlx5_0, 5] }\n',
      ['17:27 error rdma.devices[1]: must be text, got the number 5 → Quote it: "5".'],
    ],
    [
      'a negative GID index is told',
      BASE + 'rdma: { gidIndex: -1 }\n',
      [
        '17:19 error rdma.gidIndex: must be at least 0, got -1 → Correct gidIndex: GID index, or auto: the RoCE v2 GID with an IPv4 address. Default auto.',
      ],
    ],
    [
      'a GID index that is neither auto nor a number is told what is wanted',
      BASE + 'rdma: { gidIndex: first }\n',
      [
        '17:19 error rdma.gidIndex: must be auto or a whole number from 0, got "first" → Correct gidIndex: GID index, or auto: the RoCE v2 GID with an IPv4 address. Default auto.',
      ],
    ],
    [
      'a provider library without a path is told what is wanted',
      BASE + 'rdma: { providerLibrary: libfoo.so }\n',
      [
        '17:26 error rdma.providerLibrary: must be auto, none or a path that starts with /, got "libfoo.so" → Correct providerLibrary: RDMA provider library to mount into containers: auto (found on the host for the NICs’ driver), none, or a path. Default auto.',
      ],
    ],
    [
      'a secret written out is refused and not repeated',
      changed(['args: {}', 'apiKey: hunter2']),
      [
        '7:11 error engine.apiKey: must be a secret by reference, {fromEnv: NAME} or {fromFile: PATH}, got a value that is not shown here → Correct apiKey: API key that engines ask of their clients; goes through a 0600 file, never the command line.',
      ],
    ],
    [
      'a secret in an unknown key is refused and not repeated',
      changed(['args: {}', 'apiKey: { value: hunter2 }']),
      [
        '7:3 error engine.apiKey.fromEnv: is missing → Add fromEnv: environment variable on the Temporal worker that holds it.',
        '7:13 error engine.apiKey: unknown key "value" → The keys here are fromEnv; or fromFile.',
      ],
    ],
    [
      'both forms of a secret at once are refused',
      changed(['args: {}', 'apiKey: { fromEnv: A, fromFile: /b }']),
      [
        '7:25 error engine.apiKey: "fromFile" does not go together with the other keys here → The keys here are either fromEnv; or fromFile.',
      ],
    ],
    [
      "a secret in place of a variable's name is refused and not repeated",
      changed(['args: {}', 'apiKey: { fromEnv: sk-hunter2 }']),
      [
        '7:22 error engine.apiKey.fromEnv: must be the name of an environment variable, got a value that is not shown here → Correct fromEnv: environment variable on the Temporal worker that holds it.',
      ],
    ],
    [
      'an empty secret is told what is missing',
      changed(['args: {}', 'apiKey: {}']),
      [
        '7:3 error engine.apiKey.fromEnv: is missing → Add fromEnv: environment variable on the Temporal worker that holds it.',
      ],
    ],
    [
      'secrets written out in secretEnv are refused and not repeated',
      changed(['args: {}', 'secretEnv: { HF_TOKEN: hf_hunter2, B: 12345 }']),
      [
        '7:26 error engine.secretEnv.HF_TOKEN: must be a secret by reference, {fromEnv: NAME} or {fromFile: PATH}, got a value that is not shown here → Correct HF_TOKEN: a secret by reference, resolved on the Temporal worker where it is used: {fromEnv: NAME} or {fromFile: PATH}.',
        '7:41 error engine.secretEnv.B: must be a secret by reference, {fromEnv: NAME} or {fromFile: PATH}, got a value that is not shown here → Correct B: a secret by reference, resolved on the Temporal worker where it is used: {fromEnv: NAME} or {fromFile: PATH}.',
      ],
    ],
    [
      'a mapping is no value of a flag',
      changedArgs('extra-metric-labels: { a: b }'),
      [
        '7:32 error engine.args.extra-metric-labels: must be text, a number, true, false or a list, got a mapping → See specs/reference.yaml for what goes here.',
      ],
    ],
    [
      'a flag without a value is told',
      changedArgs('chunked-prefill-size: '),
      [
        '7:34 error engine.args.chunked-prefill-size: must be text, a number, true, false or a list, got nothing → See specs/reference.yaml for what goes here.',
      ],
    ],
    [
      'a list inside a list of values is told with its index',
      changedArgs('gc-threshold: [1, [2]]'),
      [
        '7:29 error engine.args.gc-threshold[1]: must be text or a number, got a list → See specs/reference.yaml for what goes here.',
      ],
    ],
    [
      'an empty router is told what is wanted',
      changed([ROUTER, 'router:']),
      [
        '16:8 error router: must be a mapping: of the keys of a router, or of external, got nothing → Correct router: the router in front of the engines: one that Tandem runs, or an external one.',
      ],
    ],
    [
      'a router that is only a name is told what is wanted',
      changed([ROUTER, 'router: r0']),
      [
        '16:9 error router: must be a mapping: of the keys of a router, or of external, got "r0" → Correct router: the router in front of the engines: one that Tandem runs, or an external one.',
      ],
    ],
    [
      'a managed router without a host is told',
      changed([ROUTER, 'router: { runtime: process }']),
      ['16:1 error router.host: is missing → Add host: name of the host that the router runs on.'],
    ],
    [
      'a misspelled key of a managed router is told as that',
      changed([ROUTER, 'router: { hst: r0, runtime: process }']),
      [
        '16:1 error router.host: is missing → Add host: name of the host that the router runs on.',
        '16:11 error router: unknown key "hst", did you mean "host"? → Write host.',
      ],
    ],
    [
      "an external router's URL without a scheme is told",
      changed([ROUTER, 'router: { external: { url: 10.0.0.3 } }']),
      [
        '16:28 error router.external.url: must be a URL that begins with http:// or https://, got "10.0.0.3" → Correct url: URL of the router.',
      ],
    ],
    [
      'a key that an external router does not have is told with those it has',
      changed([ROUTER, 'router: { external: { url: "http://r", hots: r0 } }']),
      [
        '16:40 error router.external: unknown key "hots" → The keys here are url, implementation, version, apiKey, adminKey.',
      ],
    ],
    [
      'external and host together are refused',
      changed([ROUTER, 'router: { external: { url: "http://r" }, host: r0 }']),
      [
        '16:11 error router: "external" does not go together with the other keys here → The keys here are either implementation, version, host, port, listen, runtime, image, command, policy, args, env, apiKey, adminKey, readyTimeoutSeconds; or external.',
      ],
    ],
    [
      'keys of a managed router beside external are each refused',
      changed([ROUTER, 'router: { external: { url: "http://r" }, policy: random, port: 30000 }']),
      [
        '16:42 error router: "policy" does not go together with the other keys here → The keys here are either implementation, version, host, port, listen, runtime, image, command, policy, args, env, apiKey, adminKey, readyTimeoutSeconds; or external.',
        '16:58 error router: "port" does not go together with the other keys here → The keys here are either implementation, version, host, port, listen, runtime, image, command, policy, args, env, apiKey, adminKey, readyTimeoutSeconds; or external.',
      ],
    ],
    [
      'a word is no version range',
      BASE + 'rocm: { version: six }\n',
      [
        '17:18 error rocm.version: must be a version range such as ">=6.3", got "six" → Correct version: accepted range of ROCm on the hosts, quoted. Default ">=6.3".',
      ],
    ],
    [
      'errors of the schema, of rules and of flags all show at once',
      changed(
        ['name: tiny', 'name: 5'],
        ['args: {}', 'args: { trust-remote-cod: true }'],
        [PREFILL, PREFILL.replace('replicas: 1', 'replicas: 0')],
        ['10.0.0.2', '10.0.0.1'],
        [ROUTER, 'router: { host: r1, runtime: process, polcy: x }'],
      ) + 'rdma: { minGpbs: 1 }\n',
      [
        '2:7 error name: must be text, got the number 5 → Quote it: "5".',
        '12:28 error hosts.list[1].address: 10.0.0.1 port 22 is here twice, hosts.list[0].address has it too → List every machine once.',
        '14:22 error prefill.replicas: must be at least 1, got 0 → Correct replicas: number of prefill engines.',
        '16:17 error router.host: no host is named "r1", did you mean "r0"? → Write r0.',
        '16:39 error router: unknown key "polcy", did you mean "policy"? → Write policy.',
        '17:9 error rdma: unknown key "minGpbs", did you mean "minGbps"? → Write minGbps.',
      ],
    ],
  ])('%s', (_title, text, diagnostics) => {
    expect(diagnose(text)).toEqual(diagnostics);
  });
});

describe('a secret written where none belongs', () => {
  it.each([
    'apiKey: hunter2',
    'apiKey: [hunter2]',
    'apiKey: { value: hunter2 }',
    'apiKey: { fromEnv: sk-hunter2 }',
    'apiKey: { fromEnv: [hunter2] }',
    'secretEnv: { HF_TOKEN: hunter2 }',
    'env: { HF_TOKEN: hunter2 }',
    'pull: { login: { user: u, password: hunter2 } }',
    'pull: { mirror: "http://u:hunter2@h" }',
    'args: { api-key: hunter2 }',
  ])('%s is told without it', (key) => {
    const said = diagnose(changed(['args: {}', key]));
    expect(said).not.toEqual([]);
    expect(said.join()).not.toContain('hunter2');
  });
});
