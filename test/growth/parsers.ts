import { readdirSync, readFileSync } from 'node:fs';
import { z } from 'zod';
import { explainExit } from '../../activities/engine-exit.ts';
import { redacted, tailOf } from '../../activities/units.ts';
import { judgeHost } from '../../src/checks/index.ts';
import { demandWithoutPlan } from '../../src/checks/demand.ts';
import { readAs, textOf } from '../../src/drivers/ask.ts';
import { dockerFailure, dockerRuntime } from '../../src/drivers/docker.ts';
import { requestCountOf } from '../../src/drivers/engine-client.ts';
import { eventsOf } from '../../src/drivers/generate.ts';
import { resolveImage } from '../../src/drivers/images.ts';
import { jobsRuntime } from '../../src/drivers/jobs.ts';
import { hostKeptLogs, keptIn } from '../../src/drivers/kept-logs.ts';
import { hostLeases } from '../../src/drivers/leases.ts';
import { LOOK, unitNumber } from '../../src/drivers/picture-look.ts';
import { takePicture } from '../../src/drivers/picture.ts';
import { Answer } from '../../src/drivers/ssh/answer.ts';
import { curlFetch } from '../../src/drivers/ssh/curl.ts';
import { connectFailure, isReset } from '../../src/drivers/ssh/failure.ts';
import type { Host, Output } from '../../src/drivers/types.ts';
import { parseManifest, parseSums, wanting } from '../../src/drivers/weights/files.ts';
import { hubFiles } from '../../src/drivers/weights/hub.ts';
import { folderFiles, list } from '../../src/drivers/weights/listing.ts';
import { parseSource } from '../../src/drivers/weights/source.ts';
import { read } from '../../src/facts/fact.ts';
import { driverOf } from '../../src/facts/driver.ts';
import { fieldsIn, linesOf } from '../../src/facts/lines.ts';
import { gidTypeOf, ipv4In } from '../../src/facts/gid.ts';
import { bdfOf, isCut, partitionOf } from '../../src/facts/gpu-record.ts';
import { readHostFacts } from '../../src/facts/host-facts.ts';
import { FACTS } from '../../src/facts/index.ts';
import { gpusOf, nicsOf } from '../../src/facts/inventory.ts';
import { normaliseProduct } from '../../src/facts/products.ts';
import { linkLayerOf, physicalStateOf, providerOf, stateOf } from '../../src/facts/rdma-port.ts';
import { satisfies } from '../../src/facts/version.ts';
import { engineVersion, resolveFlag, newestFlagList } from '../../src/spec/flags.ts';
import { loadSpec } from '../../src/spec/diagnostics.ts';
import { nearest } from '../../src/spec/nearest.ts';
import { fakeHost, fakeRef } from '../support/fake-host.ts';
import { aSpec } from '../support/specs.ts';
import { BASE, changed } from '../spec/diagnose.ts';
import { again, type Hostile, nearMatches, numbered, RUBBISH } from './hostile.ts';
import { keptRows } from '../../src/cli/views/kept.ts';
import { redact } from '../../src/drivers/secrets.ts';
import { lastError } from '../../src/temporal-failure.ts';
import { ending, raw } from '../../src/text/raw.ts';
import { cutStart, printable } from '../../src/text/printable.ts';
import { visible } from '../../src/text/visible.ts';

/** How a module reads a text, and the texts that are hostile to it; or why nothing hostile comes to it. */
export type Parser =
  | {
      readonly read: (text: string) => unknown;
      readonly texts: readonly Hostile[];
      /** The larger size that it is tried with, in bytes. */
      readonly bytes?: number;
    }
  | { readonly none: string };

// ---- Facts: the documents are the cases of their own tests.

const CASES = new URL('../facts/', import.meta.url);

const documentsOf = (fact: string): string[] =>
  readdirSync(new URL(`${fact}/`, CASES)).flatMap((file) => {
    const { output } = JSON.parse(readFileSync(new URL(`${fact}/${file}`, CASES), 'utf8')) as {
      output: { stdout?: string[] };
    };
    return output.stdout ? [output.stdout.join('\n')] : [];
  });

/** The longest of the documents has most lines of different kinds. */
const hostileTo = (fact: string): Hostile[] =>
  documentsOf(fact)
    .toSorted((a, b) => b.length - a.length)
    .filter((document) => document.length < 8_000)
    .slice(0, 1)
    .flatMap(nearMatches);

function facts(names: readonly string[], more: readonly Hostile[] = []): Parser {
  const known = names.map((name) => FACTS.find((fact) => fact.name === name)!);
  const output = (stdout: string, stderr = '', exitCode = 0) => ({ stdout, stderr, exitCode, timedOut: false });
  return {
    read(text) {
      for (const fact of known) {
        for (const each of [output(text), output('', text, 1), output(text, text, 1)]) read(fact, each);
      }
    },
    texts: [...RUBBISH, ...names.flatMap(hostileTo), ...more],
  };
}

const spec = aSpec();
const demand = demandWithoutPlan(spec, spec.hosts.list[0]!);

/** All that is asked of a host answers with one text, and what was read of it is judged. */
const wholeHost: Parser = {
  read(text) {
    const output = { stdout: text, stderr: '', exitCode: 0, timedOut: false };
    const found = readHostFacts(Object.fromEntries(FACTS.map(({ name }) => [name, output])));
    return [judgeHost(found, demand), gpusOf(found), nicsOf(found)];
  },
  texts: [
    ...RUBBISH,
    numbered('GPUs of rocm-smi', (i) => `GPU[${i}] : Card series: AMD Instinct MI300X\n`),
    numbered('GPUs of amd-smi', (i) => `GPU: ${i}\n  BDF: 0000:05:00.0\n`),
    numbered('RDMA ports', (i) => `/sys/class/infiniband/m${i}/ports/1/state:4: ACTIVE\n`),
    numbered('ports of one RDMA device', (i) => `/sys/class/infiniband/mlx5_0/ports/${i}/state:4: ACTIVE\n`),
    numbered('GIDs', (i) => `/sys/class/infiniband/mlx5_0/ports/1/gids/${i}:fe80::${i}\n`),
    numbered('RDMA links', (i) => `link mlx5_${i}/1 state ACTIVE physical_state LINK_UP netdev ib${i}\n`),
    numbered('HCAs', (i) => `hca_id: m${i}\n  port: 1\n    state: PORT_ACTIVE (4)\n`),
    numbered('agents', (i) => `***\nAgent ${i}\n***\n  Device Type: GPU\n  BDFID: ${i}\n`),
    numbered('cards in sysfs', (i) => `/sys/class/drm/card${i}/device/vendor:0x1002\n`),
    numbered('sockets', (i) => `LISTEN 0 128 10.0.0.1:${i % 65_536} 0.0.0.0:*\n`),
    numbered('libraries', (i) => `/usr/lib64/libibverbs/libx${i}-rdmav34.so\n`),
  ],
};

/** Texts that are short in the field, such as one value of a tool. */
const value = (reads: (text: string) => unknown, ...samples: readonly string[]): Parser => ({
  read: reads,
  texts: [...RUBBISH, ...samples.flatMap(nearMatches)],
});

// ---- Specs

const SPEC = `${BASE}rocm: { version: ">=6.3 <8", driver: "6.10.5" }\n`;
const load = (text: string) => loadSpec(text, 'a.yaml', { checkNames: ['gpu-count'] });
const within = (line: Hostile, put: (text: string) => string): Hostile => ({
  title: line.title,
  text: (bytes) => put(line.text(bytes)),
});
const specs = (...texts: readonly Hostile[]): Parser => ({ read: load, texts });
const inArgs = (text: string) => changed(['args: {}', `args: { ${text} }`]);
const inRange = (text: string) => BASE + `rocm: { version: ${JSON.stringify(text)} }\n`;

const document = specs(
  ...RUBBISH,
  ...nearMatches(SPEC),
  again('duplicate keys', 'name: x\n'),
  again('values without quotes on one line', '@, '),
  within(again('values without quotes in a list', '@x, '), (text) => `${BASE}x: [${text}]\n`),
  numbered('values without quotes', (i) => `x${i}: @x\n`),
  numbered('tabs', (i) => `\tx${i}: 1\n`),
  numbered('documents', () => '---\na: 1\n'),
  numbered('tags', (i) => `x${i}: !x 1\n`),
  numbered('deeper and deeper', (i) => `${' '.repeat(i % 200)}x${i}:\n`),
  within(again('braces in braces', '{ a: '), (text) => `${BASE}x: ${text}\n`),
);
const aliases = specs(
  numbered('aliases of one anchor', (i) => (i === 0 ? `${BASE}a: &a { b: 1 }\n` : `x${i}: *a\n`)),
  numbered('an anchor and an alias each', (i) => `x${i}: &x${i} { b: 1 }\ny${i}: *x${i}\n`),
  numbered('aliases in aliases', (i) => (i === 0 ? 'x0: &x0 [1, 1]\n' : `x${i}: &x${i} [*x${i - 1}, *x${i - 1}]\n`)),
  numbered('merges of the one before', (i) =>
    i === 0 ? 'x0: &x0 { a: 1 }\n' : `x${i}: &x${i} { <<: *x${i - 1}, k${i}: 1 }\n`,
  ),
  numbered('merges of the one before, twice', (i) =>
    i === 0 ? 'x0: &x0 { a: 1 }\n' : `x${i}: &x${i} { <<: [*x${i - 1}, *x${i - 1}] }\n`,
  ),
  numbered('empty merges', (i) => (i === 0 ? 'x0: &x0 {}\n' : `x${i}: { <<: *x0 }\n`)),
  numbered('aliases without an anchor', (i) => `x${i}: *a${i}\n`),
);
const issues = specs(
  within(
    numbered('unknown keys', (i) => `zz${i}: 1\n`),
    (text) => BASE + text,
  ),
  within(
    numbered('misspelt keys', (i) => `enginee${i}: 1\n`),
    (text) => BASE + text,
  ),
  within(
    numbered('unknown keys of a host', (i) => `z${i}: 1, `),
    (text) => changed(['{ name: p0,', `{ ${text} name: p0,`]),
  ),
  within(
    numbered('unknown keys of the router', (i) => `z${i}: 1, `),
    (text) => changed(['router: {', `router: { ${text}`]),
  ),
  within(again('keys of every object', 'constructor: 1\ntoString: 1\n__proto__: 1\n'), (text) => BASE + text),
  within(again('one long key', 'enginee'), (text) => `${BASE}${text}: 1\n`),
  within(
    numbered('wrong values', (i) => `v${i}: { a: 1 }, `),
    inArgs,
  ),
  within(
    numbered('variables with wrong names', (i) => `1-${i}: x, `),
    (text) => BASE.replace('args: {}', `env: { ${text} }`),
  ),
  within(
    numbered('hosts', (i) => `    - { name: h${i}, address: a${i}, gpus: { product: MI300X, count: 8 } }\n`),
    (text) => BASE.replace('    - { name: r0', `${text}    - { name: r0`),
  ),
  within(
    numbered('hosts with one name', () => '    - { name: h, address: a, gpus: { product: MI300X, count: 8 } }\n'),
    (text) => BASE.replace('    - { name: r0', `${text}    - { name: r0`),
  ),
  within(
    numbered('names of hosts that are not there', (i) => `p${i}, `),
    (text) => BASE.replace('prefill: {', `prefill: { hosts: [${text}],`),
  ),
  within(
    numbered('waivers', (i) => `{ check: gpu-cuont${i}, reason: x, host: p${i} }, `),
    (text) => `${BASE}checks: { waive: [${text}] }\n`,
  ),
);
const args = specs(
  within(
    numbered('misspelt flags', (i) => `tp-sise${i}: 1, `),
    inArgs,
  ),
  within(
    numbered('flags with dashes', (i) => `--tp-size${i}: 1, `),
    inArgs,
  ),
  within(again('a flag of one long word', 'tp-size'), (text) => inArgs(`${text}: 1`)),
  within(again('a number that never ends', '1'), (text) => inArgs(`mem-fraction-static: "${text}x"`)),
  within(again('a float that never ends', '1.'), (text) => inArgs(`mem-fraction-static: "${text}"`)),
  within(again('JSON that never ends', '['), (text) => inArgs(`json-model-override-args: '${text}'`)),
  within(again('a list', 'x, '), (text) => inArgs(`cuda-graph-bs: [${text}]`)),
);
const texts = (key: string, from: string, to: (text: string) => string, ...more: readonly Hostile[]) =>
  [...RUBBISH, ...more].map((hostile) =>
    within({ ...hostile, title: `${key}: ${hostile.title}` }, (text) => changed([from, to(JSON.stringify(text))])),
  );
const logins = [again('logins', '://a:b'), again('colons behind slashes', '://:')];
const values = specs(
  ...texts('model.source', 'source: file:///models/b', (text) => `source: ${text}`, ...logins),
  ...texts('env', 'args: {}', (text) => `env: { X: ${text} }`, ...logins),
  ...texts('engine.version', 'version: 0.5.23', (text) => `version: ${text}`),
  ...texts('engine.image', 'image: rocm/sgl-dev:v0.5.23', (text) => `image: ${text}`),
  ...texts('hosts.list.address', 'address: 10.0.0.1', (text) => `address: ${text}`),
);
const ranges = specs(
  ...RUBBISH.map((hostile) => within(hostile, inRange)),
  ...nearMatches('>=6.3 <7').map((hostile) => within(hostile, inRange)),
  within(again('digits and a letter', '1'), (text) => inRange(`${text}x`)),
);
const SPECS = 'by src/spec/document.ts, whose texts go through all of loadSpec';

// ---- Drivers

const NONCE = '0123456789abcdef0123456789abcdef';
const SIZES = [7, 1_000, Infinity];

/** The same bytes in chunks of several sizes. */
function answers(text: string): unknown {
  const bytes = Buffer.from(text);
  return SIZES.map((size) => {
    const answer = new Answer(NONCE, 2, 4 * 1024 ** 2);
    const step = Math.min(size, Math.max(1, bytes.length));
    for (let at = 0; at < bytes.length; at += step) {
      answer.stdout.push(bytes.subarray(at, at + step));
      answer.stderr.push(bytes.subarray(at, at + step));
    }
    return [answer.outputs(), answer.stdout.otherText()];
  });
}
const FRAMED = `${NONCE} H /home/ops\n${NONCE} S 0\ntext\n${NONCE} E 0 0 0\n${NONCE} Z\n`;

/** A response whose body comes in small chunks. */
const response = (text: string, size = 1_000) => ({
  body: new ReadableStream<Uint8Array>({
    start(controller) {
      const bytes = Buffer.from(text);
      for (let at = 0; at < bytes.length; at += size) controller.enqueue(bytes.subarray(at, at + size));
      controller.close();
    },
  }),
});

async function all(events: AsyncIterable<string>): Promise<number> {
  let count = 0;
  for await (const event of events) count += event.length;
  return count;
}

/** A host that prints one text, whatever it is asked: as stdout, and as stderr of a failure. */
const saying = (text: string): readonly Host[] =>
  [{ stdout: text }, { stderr: text, exitCode: 1 }, { stdout: text, stderr: text, exitCode: 1 }].map((output) =>
    fakeHost(() => output),
  );

/** What a driver makes of such a host; that it refuses the text is what is wanted of most. */
const ofHost =
  (ask: (host: Host) => Promise<unknown>) =>
  async (text: string): Promise<void> => {
    for (const host of saying(text)) await ask(host).catch(() => {});
  };
const ofEach =
  (...reads: readonly ((text: string) => unknown)[]) =>
  async (text: string): Promise<void> => {
    for (const one of reads) {
      try {
        await one(text);
      } catch {
        // Refusing such a text is right; how long that takes is the question.
      }
    }
  };

const picture = (text: string) =>
  takePicture(
    {
      ...fakeHost((argv) => (argv[2] === LOOK ? { stdout: text } : {})),
      leases: { list: async () => [], take: async () => {}, release: async () => {}, breakHeld: async () => [] },
    },
    { cluster: 'qwen', installation: 'run-1', docker: false, ports: [], modelPath: '/m/x', images: [] },
  );
const JOB = 'tandem-qwen-decode-0-3';
const stat = (pid: number, parent: number, group: number) =>
  `${pid} (sh) S ${parent} ${group} ${group} 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 500 0 0\n`;
const PICTURE = `job\t${JOB}\t{"tandem.cluster":"qwen","tandem.installation":"run-1","tandem.deployment":"3"}\t
turn\t100\t500\tnow\t
file\tqwen-3/x
frame\t100\t500\t
boot\tnow\t
mount\t/a\\040b
link\t101/fd/1\t/home/ops/.tandem/jobs/${JOB}/0/out
101 (sh) S 100 100 100 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 500 0 0
101/cmdline:tandem_path=x
101/environ`;

const output = (stderr: string): Output => ({ stdout: raw(''), stderr: raw(stderr), exitCode: 1, timedOut: false });
const INSPECT =
  '[{"Name": "/a", "Path": "p", "Args": null, "Image": "i", "Config": {"Labels": null}, "State": {"Status": "running", "Running": true, "ExitCode": 0, "Pid": 1, "StartedAt": "0001"}}]';
const SUM = 'a'.repeat(64);
const METRICS =
  'sglang:num_requests_total{model_name="a/b"} 7.0\nsglang:http_responses_total{endpoint="/generate",code="200"} 3.0\n';
const LOG = `[2026-11-01 10:00:00] INFO: started
sglang serve: error: unrecognized arguments: --x
OSError: no config.json in /models
ValueError: bad
[Errno 98] address in use
server_args=ServerArgs(api_key='secret', admin_api_key="other")`;

const web = parseSource('https://models.example/x/');
const rsync = parseSource('rsync://models.example/x/');
const hub = parseSource('hf://a/b@0123456789012345678901234567890123456789');
const options = { work: '/w', signal: new AbortController().signal };

/** The Hub's client asks through the global fetch. */
async function ofHub(text: string): Promise<void> {
  const real = globalThis.fetch;
  globalThis.fetch = async () => new Response(text, { headers: { 'content-type': 'application/json' } });
  try {
    await hubFiles(hub as Extract<typeof hub, { kind: 'hub' }>, options);
  } catch {
    // No listing of files.
  } finally {
    globalThis.fetch = real;
  }
}
const tree = numbered(
  'files',
  (i) => `${i === 0 ? '[' : ','}{"type":"file","path":"model-${i}.safetensors","size":1,"oid":"${'a'.repeat(40)}"}`,
);

// ---- The table

const OWN_WORDS = 'it matches only what Tandem itself wrote';
const FIXED_WORDS =
  'it looks for fixed words, which every run of lint holds against the checker of regular expressions';

/** How each module that matches text grows; a module that is not here fails the test by its name. */
export const PARSERS: Readonly<Record<string, Parser>> = {
  'src/facts/amd-smi.ts': facts(['amd-smi-static', 'amd-smi-list']),
  'src/facts/amd-smi-list.ts': facts(['amd-smi-list', 'amd-smi-enumeration']),
  'src/facts/amd-smi-metric.ts': facts(
    ['amd-smi-metric'],
    [
      {
        title: 'very many columns',
        text: (bytes) => `gpu,vram_used${',x'.repeat(bytes / 4)}\n${'0,1\n'.repeat(bytes / 8)}`,
      },
    ],
  ),
  'src/facts/amd-smi-process.ts': facts(['amd-smi-process']),
  'src/facts/amd-smi-static.ts': facts(['amd-smi-static']),
  'src/facts/amd-smi-version.ts': facts(['amd-smi-version']),
  'src/facts/amdgpu-module.ts': facts(['amdgpu-module']),
  'src/facts/amdgpu-sysfs.ts': facts(
    ['amdgpu-sysfs'],
    [numbered('cards', (i) => `/sys/class/drm/card${i}/device/vendor:0x1002\n`)],
  ),
  'src/facts/disk-free.ts': facts(['disk-free']),
  'src/facts/docker-version.ts': facts(['docker-version']),
  'src/facts/driver.ts': value(driverOf, '6.12.12', 'amdgpu 6.8.5', 'Linux version 6.14.0-24-generic'),
  'src/facts/fact.ts': facts(['kernel-release']),
  'src/facts/failure.ts': facts(
    ['ibstat'],
    nearMatches('Traceback\nAMDSMI_STATUS_BUSY (30)\nValueError: x\npermission denied'),
  ),
  'src/facts/gid.ts': value(
    (text) => [gidTypeOf(text), ipv4In(text)],
    'IB/RoCE v1',
    '0000:0000:0000:0000:0000:ffff:0a00:0001',
  ),
  'src/facts/gpu-record.ts': value(
    (text) => [isCut(text), bdfOf(text), partitionOf(text)],
    '[output truncated]',
    '---- snipped ----',
    '0000:05:00.0',
    'SPX',
  ),
  'src/facts/host-facts.ts': wholeHost,
  'src/facts/host-picture.ts': { none: 'it compares rows that the drivers have read' },
  'src/facts/ib-write-bw.ts': facts(['ib-write-bw']),
  'src/facts/ibstat.ts': facts(['ibstat']),
  'src/facts/ibv-devinfo.ts': facts(['ibv-devinfo']),
  'src/facts/index.ts': { none: 'a list of the facts' },
  'src/facts/inventory.ts': wholeHost,
  'src/facts/kernel.ts': facts(['kernel-release', 'boot-id']),
  'src/facts/kernel-cmdline.ts': facts(['kernel-cmdline']),
  'src/facts/limits.ts': facts(['limits']),
  'src/facts/lines.ts': value((text) => fieldsIn(linesOf(text)), 'State: Active'),
  'src/facts/listening-ports.ts': facts(['listening-ports']),
  'src/facts/numa-balancing.ts': facts(['numa-balancing']),
  'src/facts/products.ts': value(
    (text) => [normaliseProduct(text), normaliseProduct('x', text)],
    'AMD Instinct MI300X OAM',
    '0x74a1',
  ),
  'src/facts/provider-libraries.ts': facts(['provider-libraries']),
  'src/facts/rdma-devices.ts': facts(['rdma-devices']),
  'src/facts/rdma-link.ts': facts(['rdma-link']),
  'src/facts/rdma-port.ts': value(
    (text) => [stateOf(text), physicalStateOf(text), linkLayerOf(text), providerOf(text)],
    '4: ACTIVE',
    'PORT_ACTIVE (4)',
    'mlx5_0',
  ),
  'src/facts/rocm-smi.ts': facts(['rocm-smi']),
  'src/facts/rocm-version.ts': facts(['rocm-version']),
  'src/facts/rocminfo.ts': facts(['rocminfo']),
  'src/facts/sysfs.ts': facts(['rdma-devices', 'amdgpu-sysfs']),
  'src/facts/tool-json.ts': facts(
    ['amd-smi-static'],
    [again('roots that never end', '[{\n'), again('pairs', '{"a":1}\n')],
  ),
  'src/facts/version.ts': value((text) => satisfies(text, '>=6.3 <7'), '6.2.0-66', 'v24.6.2.0'),

  'src/spec/canonical.ts': { none: OWN_WORDS },
  'src/spec/diagnostics.ts': issues,
  'src/spec/document.ts': document,
  'src/spec/engine-args.ts': args,
  'src/spec/flags.ts': value(
    (text) => [resolveFlag(newestFlagList('sglang'), text), engineVersion({ engine: { image: text } } as never)],
    'tp-size',
    'rocm/sgl-dev:v0.5.10.post1-rocm720@sha256:00',
  ),
  'src/spec/issues.ts': issues,
  'src/spec/json-schema.ts': { none: OWN_WORDS },
  'src/spec/nearest.ts': value((text) => nearest(text, ['tp-size', text.slice(1)]), 'tp-size'),
  'src/spec/repair.ts': issues,
  'src/spec/rules.ts': { none: SPECS },
  'src/spec/rules/args.ts': args,
  'src/spec/rules/env.ts': values,
  'src/spec/rules/gpus.ts': issues,
  'src/spec/rules/hosts.ts': issues,
  'src/spec/rules/images.ts': values,
  'src/spec/rules/keys.ts': { none: SPECS },
  'src/spec/rules/operations.ts': issues,
  'src/spec/rules/parallel.ts': args,
  'src/spec/rules/ports.ts': { none: SPECS },
  'src/spec/rules/rule.ts': { none: SPECS },
  'src/spec/schema.ts': ranges,
  'src/spec/schema-walk.ts': issues,
  'src/spec/secret-refs.ts': { none: SPECS },
  'src/spec/violation.ts': { none: SPECS },
  'src/spec/yaml-value.ts': aliases,

  'src/plan/adopt.ts': { none: OWN_WORDS },
  'src/plan/found.ts': { none: OWN_WORDS },
  'src/plan/model.ts': { none: SPECS },
  'src/plan/removals.ts': { none: OWN_WORDS },
  'src/sglang/container.ts': { none: SPECS },
  'src/sglang/engine-argv.ts': { none: SPECS },
  'src/sglang/router-argv.ts': { none: SPECS },

  'src/drivers/ask.ts': value(
    ofEach(
      (text) => readAs(z.object({ a: z.string() }), 'x', { status: 200, body: raw(text) }),
      (text) => textOf(response(text)),
    ),
    '{"a": "b"}',
  ),
  'src/drivers/docker.ts': value(
    ofEach(
      ofHost((host) => dockerRuntime(host).find({})),
      (text) =>
        dockerFailure(
          fakeHost(() => ({})),
          ['ps'],
          output(text),
        ),
    ),
    INSPECT,
    'docker: permission denied while trying to connect to the Docker daemon socket: dial unix /var/run/docker.sock',
    'docker: Error response from daemon: Conflict. The container name "/x" is already in use by container',
  ),
  'src/drivers/engine-client.ts': value(requestCountOf, METRICS),
  'src/drivers/generate.ts': value(
    ofEach(
      (text) => all(eventsOf(response(text))),
      (text) => all(eventsOf(response(text, 10))),
    ),
    'data: {"choices": []}\r\n\r\ndata: [DONE]\n\n',
  ),
  'src/drivers/images.ts': value(
    ofHost((host) => resolveImage(host, { reference: 'a/b:c', policy: 'missing', pullTimeoutMs: 1 })),
    'Error response from daemon: manifest for a/b:c not found: manifest unknown',
    'Error: No such image: a/b:c',
  ),
  'src/drivers/jobs.ts': value(
    ofHost((host) => jobsRuntime(host).find({})),
    'name\n1\n7\n\n2026\n{}\n{"argv":[]}\n',
  ),
  'src/drivers/kept-logs.ts': value(
    ofEach(
      (text) => keptIn(text, '/logs', 'c'),
      ofHost((host) => hostKeptLogs(host).list('c')),
    ),
    '17\tc-3/tandem-c-decode-0-3.log',
  ),
  'src/drivers/leases.ts': value(
    ofHost((host) => hostLeases(host).list()),
    '0000:05:00.0 {"cluster":"a","installation":"b","deployment":1}',
  ),
  'src/drivers/picture.ts': value(ofEach(picture), PICTURE),
  'src/drivers/picture-look.ts': value(
    (text) => [unitNumber('qwen', text), unitNumber('qwen', `tandem-qwen-${text}`)],
    '.tandem-qwen-decode-0-3.gone.17',
  ),
  'src/drivers/picture-processes.ts': {
    read: ofEach(picture),
    texts: [
      ...nearMatches(PICTURE),
      ...[
        numbered('processes, each the parent of the next', (i) => stat(i + 101, i + 100, 100)),
        numbered(
          'processes that are their own parents',
          (i) => `${stat(i, i, i)}${i}/cmdline:tandem_path=x\n${i}/environ\nframe\t${i}\t500\t\n`,
        ),
        numbered('turns and processes of one group', (i) => `turn\t100\t${i}\tnow\t\n${stat(i + 101, 1, 100)}`),
        numbered(
          'frames of one group',
          (i) => `frame\t100\t${i}\t\n${stat(i + 101, 1, 100)}${i + 101}/cmdline:${JOB}\n${i + 101}/environ\n`,
        ),
        numbered(
          'links of one process',
          (i) => `link\t101/cwd\t/home/ops/.tandem/jobs/${JOB}.gone.${i}\n101/cmdline:${i}\n`,
        ),
        numbered('jobs', (i) => `job\ttandem-qwen-decode-0-${i}\t\t\n`),
      ].map((hostile) => within(hostile, (text) => `${PICTURE}\n${text}`)),
    ],
  },
  'src/drivers/ssh/answer.ts': {
    read: answers,
    bytes: 64 * 1024, // A quarter of it is more than a mark can have.
    texts: [
      ...RUBBISH,
      ...nearMatches(FRAMED),
      again('a mark that never ends', `${NONCE} `),
      within(again('a mark of one long line', 'a'), (text) => `${NONCE} S 0\n${NONCE} ${text}`),
      again('beginnings of a nonce', NONCE.slice(0, -1)),
      again('nonces', NONCE),
      numbered('marks of commands that there are not', (i) => `${NONCE} E ${i * 1_000_003} 0 0\n`),
    ],
  },
  'src/drivers/ssh/config.ts': { none: 'it matches addresses and paths that the schema has let through' },
  'src/drivers/ssh/curl.ts': value(
    ofEach((text) =>
      curlFetch(
        { ref: fakeRef('h'), run: async () => [{ stdout: text, stderr: '', exitCode: 0, timedOut: false }] } as never,
        'http://x/',
        { timeoutMs: 1 },
        undefined,
      ),
    ),
    'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\na: b\r\n\r\nbody',
  ),
  'src/drivers/ssh/failure.ts': value(
    (text) => [connectFailure(fakeRef('h'), raw(text)), isReset(text)],
    'no ED25519 host key is known for h',
    'kex_exchange_identification: Connection closed by remote host',
  ),
  'src/drivers/ssh/forward.ts': { none: FIXED_WORDS },
  'src/drivers/ssh/host.ts': { none: FIXED_WORDS },
  'src/drivers/ssh/master.ts': { none: 'it hands on lines, of the last 8 KiB that ssh itself said' },
  'src/drivers/ssh/quote.ts': { none: OWN_WORDS },
  'src/drivers/ssh/runtime-dir.ts': { none: 'it matches names of folders on this machine' },
  'src/drivers/ssh/session.ts': {
    none: 'its evidence is the last 2 KiB of what is not the runner’s; the rest is read by src/drivers/ssh/answer.ts',
  },
  'src/drivers/weights/errors.ts': { none: FIXED_WORDS },
  'src/drivers/weights/files.ts': value(
    ofEach(
      parseSums,
      (text) => parseManifest('manifest.json', text),
      (text) =>
        wanting(
          [
            { path: 'config.json', size: 1 },
            { path: 'a.bin', size: 1 },
          ],
          text,
        ),
    ),
    `${SUM}  ./a.safetensors`,
    `{"files": [{"path": "a", "size": 1, "sha256": "${SUM}"}]}`,
    '{"weight_map": {"a": "b.safetensors"}}',
  ),
  'src/drivers/weights/hub.ts': {
    read: ofHub,
    texts: [
      ...RUBBISH,
      ...nearMatches('[{"type":"file","path":"a.safetensors","size":1,"oid":"0"}]'),
      tree,
      within(tree, (text) => `${text}]`),
    ],
  },
  'src/drivers/weights/listing.ts': {
    read: ofEach(
      ofHost((host) => folderFiles(host, '/x')),
      ofHost((host) => list(host, web, options)),
      ofHost((host) => list(host, rsync, options)),
    ),
    texts: [
      ...RUBBISH,
      ...nearMatches('-rw-r--r-- 1,234 2026/11/01 10:00:00 a.safetensors'),
      ...nearMatches(`HTTP/1.1 200 OK\ncontent-length: 5\n\n= 200\n`),
      numbered('sums', (i) => `${SUM}  f${i}.safetensors\n`),
      again('files of find', '5\ta\0'),
    ],
  },
  'src/drivers/weights/source.ts': value(
    ofEach(parseSource),
    'hf://a/b@main',
    'file:///x',
    'rsync://h/x',
    'https://h/x',
  ),
  'src/drivers/weights/stage.ts': {
    none: 'rows of Tandem’s own program on the host, line by line; paths are read by src/drivers/weights/files.ts',
  },

  'activities/acceptance.ts': { none: OWN_WORDS },
  'activities/engine-exit.ts': value((log) => explainExit({ exitCode: 2, oomKilled: false, log, role: 'decode' }), LOG),
  'activities/engines.ts': { none: 'it looks for fixed words in lines of a log' },
  'activities/hosts.ts': { none: OWN_WORDS },
  'activities/images.ts': { none: SPECS },
  'activities/rdma.ts': { none: FIXED_WORDS },
  'activities/router.ts': { none: OWN_WORDS },
  'activities/units.ts': value((log) => [redacted(raw(log), ['secret']), tailOf(raw(log), ['secret'])], LOG),
  'activities/temporal.ts': { none: OWN_WORDS },
  'workflows/cluster.ts': { none: 'it matches the name of a cluster, of at most 255 bytes' },
  'workflows/inspect.ts': { none: SPECS },
  'workflows/steps/picture.ts': { none: 'it matches rows of a picture, of which there are at most 200 of a kind' },
  'src/client.ts': { none: OWN_WORDS },
  'src/temporal-failure.ts': value(lastError, '14 UNAVAILABLE: No connection established. Last error: Error: connect'),
  'src/drivers/secrets.ts': value(
    (text) => redact(text, ['hunter2-hunter2', 'key-of-clients']),
    'token=hunter2-hunter2',
  ),
  'src/spec/strings.ts': { none: SPECS },
  'src/text/raw.ts': value((text) => ending(raw(text)), LOG),
  'src/text/printable.ts': value(
    (text) =>
      cutStart(
        printable(text, (one) => one),
        999,
      ),
    LOG,
    'Unexpected token in JSON at 3',
  ),
  'src/text/visible.ts': value(visible, 'a\u001b[31m b \u202e'),
  'src/connection.ts': { none: OWN_WORDS },
  'src/cli/check.ts': { none: 'it matches names of files; what is in them is read by src/facts' },
  'src/cli/ends.ts': { none: 'one line of /proc of this machine' },
  'src/cli/spec-file.ts': { none: 'it counts the lines before an odd byte' },
  'src/cli/usage.ts': { none: 'it matches what the user typed' },
  'src/cli/views/kept.ts': value((text) => keptRows(text.split('\n'), {}), 'gpu-a: image rocm/sgl-dev:v0.5 (20.0 GiB)'),
  'src/cli/logs.ts': { none: 'logs are compared line by line, of which there are at most some thousand' },
  'src/cli/lease.ts': { none: 'it matches what the user typed' },
  'src/cli/local/demo.ts': { none: 'one answer of a simulated engine, as JSON' },
  'src/cli/local/processes.ts': { none: 'one line of /proc of this machine' },
  'src/cli/local/stack.ts': { none: OWN_WORDS },
  'src/cli/main.ts': { none: OWN_WORDS },
  'src/cli/sim.ts': { none: OWN_WORDS },
  'src/cli/views/operation.ts': { none: 'it splits texts that are at most 4 KiB' },
  'src/cli/views/plan.ts': { none: OWN_WORDS },
};
