import { engineOf, type Run } from './call.ts';
import { daemonError, DockerError } from './command.ts';
import type { Container } from './container.ts';
import { inspected } from './inspect.ts';

/** docker start */
export function start(it: Run): Promise<number> {
  return each(it, ({ host }, container) => host.engine.start(container), 'Error: failed to start containers');
}

/** docker stop: TERM, then KILL after the limit. */
export function stop(it: Run): Promise<number> {
  const text = it.flags.value('timeout') ?? it.flags.value('time');
  if (text !== undefined && !/^-?\d+$/.test(text)) {
    throw new DockerError(
      `invalid argument "${text}" for "-t, --timeout" flag: strconv.ParseInt: parsing "${text}": invalid syntax\n\nUsage:  docker stop [OPTIONS] CONTAINER [CONTAINER...]\n\nRun 'docker stop --help' for more information\n`,
      125,
    );
  }
  return each(it, ({ host, flags }, container) =>
    host.engine.stop(container, text === undefined ? undefined : Number(text), flags.value('signal')),
  );
}

/** docker kill */
export function kill(it: Run): Promise<number> {
  return each(it, ({ host, flags }, container) => host.engine.kill(container, flags.value('signal') ?? 'KILL'));
}

/** docker rm */
export async function remove(it: Run): Promise<number> {
  const force = it.flags.has('force');
  // Since Docker 20.10, rm --force of what is not there is no failure.
  const engine = engineOf(it, `containers/${it.flags.words[0]}`);
  const there = (word: string) => inspected(engine, word, 'container') !== undefined;
  const gone = force ? it.flags.words.filter((word) => !there(word)) : [];
  for (const word of gone) it.call.stderr(`Error response from daemon: No such container: ${word}\n`);
  const flags = { ...it.flags, words: it.flags.words.filter((word) => !gone.includes(word)) };
  return each({ ...it, flags }, ({ host }, container) => host.engine.remove(container, force));
}

/** docker wait: prints the exit codes. */
export async function wait(it: Run): Promise<number> {
  const engine = engineOf(it, 'containers/wait');
  for (const word of it.flags.words) {
    const container = engine.find(word);
    const code = container.unit ? await container.unit.exited : container.state.exitCode;
    it.call.stdout(`${code}\n`);
  }
  return 0;
}

/** docker logs */
export async function logs(it: Run): Promise<number> {
  const { flags, call } = it;
  const container = engineOf(it, 'containers/logs').find(flags.words[0]!);
  const tail = flags.value('tail') ?? 'all';
  if (tail !== 'all' && !/^-?\d+$/.test(tail)) throw daemonError(`invalid value for tail: ${tail}`);
  const print = ({ time, stream, text }: Container['log'][number]) =>
    call[stream](flags.has('timestamps') ? `${time} ${text}` : text);
  const lines = container.log;
  const shown = tail === 'all' || Number(tail) < 0 ? lines : Number(tail) === 0 ? [] : lines.slice(-Number(tail));
  const since = flags.value('since');
  shown.filter(({ time }) => since === undefined || time >= since).forEach(print);
  if (!flags.has('follow') || !container.unit) return 0;
  container.followers.add(print);
  await Promise.race([container.unit.exited, new Promise((resolve) => call.signal.addEventListener('abort', resolve))]);
  container.followers.delete(print);
  return 0;
}

/** docker exec */
export async function exec(it: Run): Promise<number> {
  const { host, call, flags } = it;
  const container = engineOf(it, 'containers/exec').find(flags.words[0]!);
  if (!container.unit) throw daemonError(`container ${container.id} is not running`);
  const argv = flags.words.slice(1);
  const code = await host.exec(container, argv, call);
  if (code !== undefined) return code;
  throw new DockerError(
    `OCI runtime exec failed: exec failed: unable to start container process: exec: "${argv[0]}": executable file not found in $PATH: unknown\n`,
    127,
  );
}

/** Does one thing to each named container; goes on past a failure, prints the names that went well. */
async function each(
  it: Run,
  act: (it: Run, container: Container) => Promise<void> | void,
  after = '',
): Promise<number> {
  const engine = engineOf(it, `containers/${it.flags.words[0]}`);
  const failed: string[] = [];
  for (const word of it.flags.words) {
    try {
      await act(it, engine.find(word));
      it.call.stdout(`${word}\n`);
    } catch (error) {
      if (!(error instanceof DockerError)) throw error;
      it.call.stderr(error.message.replace(/^docker: /, '').replace(/\n\nRun 'docker run .*/s, '\n'));
      failed.push(word);
    }
  }
  if (failed.length > 0 && after !== '') it.call.stderr(`${after}: ${failed.join(', ')}\n`);
  return failed.length > 0 ? 1 : 0;
}
