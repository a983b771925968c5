import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { until } from './processes.ts';

const PROGRAM = fileURLToPath(new URL('argv-sampler.mjs', import.meta.url));

export interface Sampled {
  readonly rounds: number;
  /** Command lines by the text that was seen in them. */
  readonly seen: Readonly<Record<string, string>>;
}

export interface Sampler {
  /** Does something that shows a text, again until it was seen: what is short can be missed on a busy machine. */
  readonly sees: (text: string, act: () => Promise<unknown>) => Promise<void>;
  readonly end: () => Promise<Sampled>;
}

/** Looks for these texts in the command line of every process of this machine, from now until its end. */
export async function sampleArgv(texts: readonly string[]): Promise<Sampler> {
  const child = execa(process.execPath, [PROGRAM], { reject: false });
  child.stdin.write(`${JSON.stringify(texts)}\n`);
  await once(child.stderr, 'data');
  let printed = '';
  child.stdout.on('data', (bytes: Buffer) => (printed += bytes.toString()));
  let result: Promise<Sampled> | undefined;
  return {
    sees: (text, act) =>
      until(`${text} is seen`, async () => {
        await act();
        return printed.split('\n').includes(JSON.stringify(text));
      }),
    end: () => {
      child.stdin.end();
      return (result ??= child.then(({ stdout }) => JSON.parse(stdout.split('\n').at(-1)!) as Sampled));
    },
  };
}
