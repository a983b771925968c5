import { describe, expect, it } from '@jest/globals';
import { BASE, changed, DECODE, diagnose, PREFILL } from './diagnose.ts';

const numbers = (count: number, line: (i: number) => string) =>
  Array.from({ length: count }, (_, index) => line(index + 1)).join('');

describe('a file that is no proper YAML', () => {
  it.each<[string, string, string[]]>([
    ['an empty file is refused', '', ['1:1 error : the file is empty → Start from specs/demo.yaml.']],
    ['a file of comments is empty', '# nothing\n', ['1:1 error : the file is empty → Start from specs/demo.yaml.']],
    ['a list is no spec', '- a\n', ['1:1 error : must be a mapping of keys, got a list → Begin with specVersion: 1.']],
    [
      'a single value is no spec',
      '\n  hello\n',
      ['2:3 error : must be a mapping of keys, got a single value → Begin with specVersion: 1.'],
    ],
    [
      'more than 1 MiB is not read',
      '#'.repeat(1024 * 1024 + 1),
      [
        '1:1 error : the file has 1048577 bytes, at most 1048576 (1 MiB) are read → Is this a spec? One of a thousand hosts has a tenth of that; name the right file.',
      ],
    ],
    [
      'the size counts in bytes, not characters',
      '# ' + 'é'.repeat(1024 * 512),
      [
        '1:1 error : the file has 1048578 bytes, at most 1048576 (1 MiB) are read → Is this a spec? One of a thousand hosts has a tenth of that; name the right file.',
      ],
    ],
    [
      'a second document is refused where it begins',
      BASE + '---\n' + BASE,
      ['17:1 error : a second document begins here, one is wanted → Put each spec into its own file.'],
    ],
    [
      'a key that is twice is told at the second',
      BASE + 'name: other\n',
      ['17:1 error name: is here twice → Keep one of the two.'],
    ],
    [
      'a key that is twice deep inside is told by its path',
      changed(['ssh: { user: ops }', 'ssh: { user: ops, user: root }']),
      ['9:21 error hosts.ssh.user: is here twice → Keep one of the two.'],
    ],
    [
      'a tab in the indentation is told as that, without what the parser made of it',
      changed(['  image: rocm', '\timage: rocm']),
      ['5:1 error : a tab in the indentation, where YAML takes spaces only → Indent with spaces.'],
    ],
    [
      'an unquoted >=6.3 is told to be quoted',
      BASE + 'rocm:\n  version: >=6.3\n  driver: ">=6.10"\n',
      ['18:13 error rocm.version: >=6.3 must be quoted: to YAML a leading > means something else → Write ">=6.3".'],
    ],
    [
      'two of them on one line are both told',
      BASE + 'rocm: { version: >=6.3, driver: >=6.10 } # both\n',
      [
        '17:18 error rocm.version: >=6.3 must be quoted: to YAML a leading > means something else → Write ">=6.3".',
        '17:33 error rocm.driver: >=6.10 must be quoted: to YAML a leading > means something else → Write ">=6.10".',
      ],
    ],
    [
      'an unquoted @ is told to be quoted',
      changed(['name: tiny', 'name: @tiny']),
      ['2:7 error name: @tiny must be quoted: to YAML a leading @ means something else → Write "@tiny".'],
    ],
    [
      'an unquoted >=6.3 hides no other error, and its own value is judged once',
      changed([
        'replicas: 1, gpus: { product: MI300X, count: 8 } }\ndecode',
        'replicas: 0, gpus: { product: MI300X, count: 8 } }\ndecode',
      ]) + 'rocm:\n  version: >=6.3\n',
      [
        '14:22 error prefill.replicas: must be at least 1, got 0 → Correct replicas: number of prefill engines.',
        '18:13 error rocm.version: >=6.3 must be quoted: to YAML a leading > means something else → Write ">=6.3".',
      ],
    ],
    [
      'an alias bomb is refused before it is expanded',
      'a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n' +
        BASE,
      [
        '4:38 error : aliases stand for far more than is written (more than 10000 copies) → Write the values out, or use fewer aliases.',
      ],
    ],
    [
      'a hundred mappings that each merge the one before twice are refused before they are built',
      BASE + 'x0: &x0 { a: 1 }\n' + numbers(100, (i) => `x${i}: &x${i} { <<: [*x${i - 1}, *x${i - 1}] }\n`) + 'y: 1\n',
      [
        '28:18 error : aliases stand for far more than is written (more than 10000 copies) → Write the values out, or use fewer aliases.',
      ],
    ],
    [
      'merge keys that copy a growing mapping again and again are refused',
      BASE + 'x0: &x0 { a: 1 }\n' + numbers(200, (i) => `x${i}: &x${i} { <<: *x${i - 1}, k${i}: 1 }\n`),
      [
        '117:19 error : aliases stand for far more than is written (more than 10000 copies) → Write the values out, or use fewer aliases.',
      ],
    ],
    [
      'a merge key that names no mapping is told',
      changed(['args: {}', 'args: { <<: 5 }']),
      ['7:11 error : a merge key must name a mapping → Write <<: *NAME, NAME being a mapping.'],
    ],
    [
      'keys that every object of JavaScript answers to are as unknown as any',
      changed(['engine:', 'constructor: { x: 1 }\nengine:'], ['    - { name: p0,', '    - { toString: 1, name: p0,']),
      [
        '4:1 error : unknown key "constructor" → The keys here are specVersion, name, site, model, engine, hosts, prefill, decode, rocm, rdma, checks, router, acceptance, upgrade.',
        '12:9 error hosts.list[0]: unknown key "toString" → The keys here are name, address, port, user, hostKey, fabricAddress, gpus.',
      ],
    ],
    [
      'a version range of 60,000 digits is refused',
      BASE + `rocm: { version: "${'1'.repeat(60_000)}x" }\n`,
      [
        `17:18 error rocm.version: must have at most 100 characters, got 60001 → Correct version: accepted range of ROCm on the hosts, quoted. Default ">=6.3".`,
      ],
    ],
    [
      'more levels than a spec has are refused',
      BASE + `x: ${'{ a: '.repeat(40)}1${' }'.repeat(40)}\n`,
      [`17:164 error x${'.a'.repeat(32)}: nested too deeply for a spec → A spec needs fewer than ten levels.`],
    ],
    [
      'what is wrong behind an alias is told where the alias stands',
      changed(
        ['args: {}', 'args: &shared { trust-remote-code: 5 }'],
        [PREFILL, 'prefill: { replicas: 1, gpus: { product: MI300X, count: 8 }, args: *shared }'],
      ),
      [
        '7:38 error engine.args.trust-remote-code: takes no value: true or false, got 5 → Write true for the bare flag, or take the line out.',
        '14:62 error prefill.args.trust-remote-code: takes no value: true or false, got 5 → Write true for the bare flag, or take the line out.',
      ],
    ],
    [
      'an alias without an anchor is told',
      changed(['name: tiny', 'name: *tiny']),
      ['2:7 error name: the alias *tiny names no anchor before it → Write &tiny at the value that it stands for.'],
    ],
    [
      'an alias inside of what it names is told',
      changed(['args: {}', 'args: &a { x: *a }']),
      ['7:17 error engine.args.x: the alias *a stands inside of what it names → Write the value out.'],
    ],
    [
      'a tag is refused',
      changed(['name: tiny', 'name: !secret tiny']),
      ['2:7 error name: !secret is a tag, and tags are not used here → Take the tag out.'],
    ],
    [
      'a key that is a list is refused',
      BASE + '? [a, b]\n: 1\n',
      ['17:3 error : a key must be a word, got a list, a mapping or an alias → Write a plain key.'],
    ],
    [
      'a brace that is never closed is told',
      changed(['ssh: { user: ops }', 'ssh: { user: ops']),
      [
        '10:3 error hosts.list: not YAML: flow map in block collection must be sufficiently indented and end with a } → Correct the YAML here or just before.',
      ],
    ],
    [
      'a quote that is never closed is told',
      changed(['name: tiny', 'name: "tiny']),
      ['17:1 error name: not YAML: missing closing "quote → Correct the YAML here or just before.'],
    ],
    [
      'a NUL character is refused',
      changed(['file:///models/b', '"file:///models/\\0b"']),
      ['3:27 error model.source: holds a NUL character, which no program can be given → Take it out.'],
    ],
    [
      '100,000 open brackets do not end the process',
      'a: ' + '['.repeat(100000),
      ['1:260 error : nested too deeply for a spec → A spec needs fewer than ten levels.'],
    ],
    [
      '200,000 nested list marks do not end the process',
      '- '.repeat(200000),
      ['1:1 error : nested too deeply for a spec → A spec needs fewer than ten levels.'],
    ],
    [
      'an indentation of 300 is refused',
      `a:\n${' '.repeat(300)}b: 1\n`,
      ['2:301 error : nested too deeply for a spec → A spec needs fewer than ten levels.'],
    ],
    [
      'the key __proto__ is as unknown as any',
      BASE + '__proto__: { x: 1 }\n',
      [
        '17:1 error : unknown key "__proto__" → The keys here are specVersion, name, site, model, engine, hosts, prefill, decode, rocm, rdma, checks, router, acceptance, upgrade.',
      ],
    ],
  ])('%s', (_title, text, diagnostics) => {
    expect(diagnose(text)).toEqual(diagnostics);
  });
});

describe('a file that YAML reads as it looks', () => {
  it.each<[string, string]>([
    ["is the tests' own base", BASE],
    [
      'an anchor may be used for args of two roles',
      changed(['args: {}', 'args: &shared { trust-remote-code: true }']).replace(
        PREFILL,
        PREFILL.replace(' } }', ' }, args: *shared }'),
      ),
    ],
    [
      'a merge key may fill one role from the other',
      changed(
        [PREFILL, 'prefill: &p { replicas: 1, gpus: { product: MI300X, count: 8 } }'],
        [DECODE, 'decode: { <<: *p, args: { decode-attention-backend: triton } }'],
      ),
    ],
    ['lines may end as on Windows', BASE.replaceAll('\n', '\r\n')],
    ['a byte order mark may come first', '\uFEFF' + BASE],
  ])('%s', (_title, text) => {
    expect(diagnose(text)).toEqual([]);
  });
});

describe('a file with very many errors', () => {
  const UNKNOWN = numbers(70_000, (i) => `zz${i}: 1\n`);

  it('shows a hundred of them in the order of the file, and counts the rest', () => {
    const diagnostics = diagnose(BASE + UNKNOWN);
    expect(diagnostics.length).toBe(101);
    expect(diagnostics[0]).toMatch(/^17:1 error : unknown key "zz1" → /);
    expect(diagnostics[99]).toMatch(/^116:1 error : unknown key "zz100" → /);
    expect(diagnostics[100]).toBe(
      '117:1 error : there are 69900 more diagnostics, which are not shown → Mend the first ones, and validate again.',
    );
  });

  it('tells of 40,000 misspelt flags in one line', () => {
    const flags = numbers(40_000, (i) => `tp-sise${i}: 1, `);
    expect(diagnose(changed(['args: {}', `args: { ${flags}}`]))).toEqual([
      '7:9 error engine.args: must have at most 1000 keys, got 40000 → Correct args: flags of both roles without the leading dashes. true gives a bare flag, false leaves it out, a list repeats values.',
    ]);
  });

  it('names the nearest flag of each of 300, a hundred of them shown', () => {
    const flags = numbers(300, (i) => `kv-cache-dtypo${i}: 1, `);
    const diagnostics = diagnose(changed(['args: {}', `args: { ${flags}}`]));
    expect(diagnostics[0]).toMatch(
      /unknown flag "kv-cache-dtypo1" of sglang 0\.5\.23, did you mean "kv-cache-dtype"\?/,
    );
    expect(diagnostics.at(-1)).toMatch(/there are 200 more diagnostics/);
  });

  it('counts what YAML itself cannot read', () => {
    const diagnostics = diagnose(BASE + numbers(5_000, (i) => `z${i}: @x\n`));
    expect(diagnostics.length).toBe(101);
    expect(diagnostics.at(-1)).toMatch(/there are 4900 more diagnostics/);
  });
});
