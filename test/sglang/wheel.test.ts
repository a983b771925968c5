import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';

/** scripts/sglang/wheel.py reads flags out of sources; whether it reads what the real parsers have, parser.test.ts asks them. */
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tandem-wheel-'));
});
afterAll(() => rm(folder, { recursive: true }));

const READ = `
import json, sys
sys.dont_write_bytecode = True
sys.path.insert(0, ${JSON.stringify(join(import.meta.dirname, '../../scripts/sglang'))})
from wheel import Wheel, flags_of
print(json.dumps(flags_of(Wheel(sys.argv[1]))))
`;
async function flagsOf(files: Readonly<Record<string, string>>): Promise<unknown> {
  const wheel = await mkdtemp(join(folder, 'w-'));
  for (const [name, text] of Object.entries(files)) {
    const path = join(wheel, 'sglang/srt', name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text);
  }
  return JSON.parse((await execa('python3', ['-c', READ, wheel])).stdout);
}
const HELP = { help: { takes: 'nothing' } };

describe('the flags of a wheel', () => {
  it('are read from calls of add_argument, as until 0.5.13', async () => {
    const source = `
from sglang.srt.parsers import Kinds
BACKENDS = ["a", "b"] + ["c"]

class ServerArgs:
    tp_size: int = 1

    @staticmethod
    def add_cli_args(parser):
        more = BACKENDS + ["d"]
        parser.add_argument("--tensor-parallel-size", "--tp-size", type=int, default=ServerArgs.tp_size)
        parser.add_argument("--backend", type=str, choices=more)
        parser.add_argument("--kind", type=str, choices=list(Kinds.known))
        parser.add_argument("--of-this-machine", type=str, choices=look_around())
        parser.add_argument("--bare", action="store_true", help="[Deprecated] Use --kind instead.")
        parser.add_argument("--length", type=human_readable_int)
        parser.add_argument("--labels", type=json.loads)
        parser.add_argument("--paths", type=str, nargs="*")
        parser.add_argument("--gone", action=DeprecatedAction, help="Note: --gone is deprecated now.")
        parser.add_argument("--both", action=argparse.BooleanOptionalAction)
`;
    const kinds = 'class Kinds:\n    known = {"x": 1, "y": 2}\n';
    expect(await flagsOf({ 'server_args.py': source, 'parsers.py': kinds })).toEqual({
      ...HELP,
      'tp-size': { takes: 'int', aliases: ['tensor-parallel-size', 'tp'] },
      backend: { takes: 'str', choices: ['a', 'b', 'c', 'd'] },
      kind: { takes: 'str', choices: ['x', 'y'] },
      // What only running it would tell is not checked.
      'of-this-machine': { takes: 'str' },
      bare: { takes: 'nothing', deprecated: 'Use --kind instead.' },
      length: { takes: 'int', suffixes: true },
      labels: { takes: 'json' },
      paths: { takes: 'list', nargs: '*' },
      gone: { takes: 'nothing', deprecated: 'gone is deprecated now.' },
      both: { takes: 'nothing' },
      'no-both': { takes: 'nothing' },
    });
  });

  it('are read from annotated fields, in files of their own too, as from 0.5.14 and 0.5.20 on', async () => {
    const here = `
class ServerArgs:
    port: A[int, "Where it listens."] = 30000
    @staticmethod
    def add_cli_args(parser):
        parser.add_argument("--old", action=DeprecatedStoreTrueAction, new_flag="--new")
`;
    const fields = `
class Backend:
    ONE = "one"
    ALL = (ONE, "two")

class Fields:
    tp_size: A[int, Arg(help="GPUs.", aliases=["--tensor-parallel-size"])] = 1
    backend: A[Optional[Literal["one", "two"]], Arg(help="", choices=Backend.ALL)] = None
    mode: A[Literal[1, 2], "A number."] = 2
    names: A[list[str] | None, "Several."] = None
    on: A[bool, Arg(help="x", cli_name="--switch-on")] = False
    derived: A[int, Derived(source="port")] = 1
    hidden: A[bool, Arg(no_cli=True)] = False
    plain: int = 3
`;
    expect(await flagsOf({ 'server_args.py': here, 'arg_groups/fields/some.py': fields })).toEqual({
      ...HELP,
      port: { takes: 'int' },
      old: { takes: 'nothing', deprecated: 'use --new' },
      'tp-size': { takes: 'int', aliases: ['tensor-parallel-size', 'tp'] },
      backend: { takes: 'str', choices: ['one', 'two'] },
      mode: { takes: 'int', choices: ['1', '2'] },
      names: { takes: 'list', nargs: '+' },
      'switch-on': { takes: 'nothing' },
    });
  });
});
