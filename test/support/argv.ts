import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';

const PROGRAM = fileURLToPath(new URL('argv-sampler.mjs', import.meta.url));

export interface Sampled {
  readonly rounds: number;
  /** Command lines by the text that was seen in them. */
  readonly seen: Readonly<Record<string, string>>;
}

/** Looks for these texts in the command line of every process of this machine, from now until its end. */
export async function sampleArgv(texts: readonly string[]): Promise<{ readonly end: () => Promise<Sampled> }> {
  const child = execa(process.execPath, [PROGRAM], { reject: false });
  child.stdin.write(`${JSON.stringify(texts)}\n`);
  await once(child.stderr, 'data');
  let result: Promise<Sampled> | undefined;
  return {
    end: () => {
      child.stdin.end();
      return (result ??= child.then(({ stdout }) => JSON.parse(stdout) as Sampled));
    },
  };
}
