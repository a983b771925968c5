import { randomUUID } from 'node:crypto';
import type { Serving } from '../../../src/plan/types.ts';
import { needs, USER, type LabHost } from '../../lab/host.ts';

/** What a person does by hand beside Tandem: asks the router, and starts engines of another generation. */

const ANSWER_MS = 120_000;

/** Why an answer to one chat request through the router is not whole; undefined where it is. */
export async function askWhole({ router, model }: Serving, stream: boolean): Promise<string | undefined> {
  // The router sends prompts that begin alike to one prefill engine.
  const messages = [{ role: 'user', content: `${randomUUID()}: who answers?` }];
  const response = await fetch(`${router.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model, max_tokens: 8, messages, stream }),
    signal: AbortSignal.timeout(ANSWER_MS),
  });
  const text = await response.text();
  if (response.status !== 200) return `${response.status}: ${text}`;
  if (!stream) {
    const { usage } = JSON.parse(text) as { usage: { completion_tokens: number } };
    return usage.completion_tokens > 0 ? undefined : text;
  }
  // A stream that broke off ends with [DONE] too.
  const lines = text.split('\n').filter((line) => line.startsWith('data: '));
  return lines.at(-1) === 'data: [DONE]' && lines.at(-2)!.includes('"finish_reason":"') ? undefined : text;
}

/** Asks on some lanes, chats and streams in turn, until it is ended. */
export function startLoad(serving: Serving, lanes: number) {
  const failed: string[] = [];
  let [asked, goesOn] = [0, true];
  const lane = async () => {
    while (goesOn) {
      const why = await askWhole(serving, (asked += 1) % 2 === 0).catch(String);
      if (why !== undefined) failed.push(why);
    }
  };
  const over = Promise.all(Array.from({ length: lanes }, lane));
  return {
    asked: () => asked,
    /** Returns why requests failed, once all have ended. */
    async end(): Promise<readonly string[]> {
      goesOn = false;
      await over;
      return failed;
    },
  };
}

const NEXT = `/home/${USER}/next`;

/** Starts on a host one more of the engine that runs there as this job: its command line and environment, but other ports. */
export async function startNext(host: LabHost, job: string, ports: Readonly<Record<number, number>>): Promise<void> {
  const changes = Object.entries(ports).flatMap(([from, to]) => ['-e', `s/'${from}'/'${to}'/`]);
  const script = `set -e
job=$1; shift
install -d -o ${USER} -g ${USER} ${NEXT}
sed "$@" "$job/run" >${NEXT}/run
cd ${NEXT}
HOME=/home/${USER} setsid setpriv --reuid ${USER} --regid ${USER} --init-groups sh ./run . </dev/null >log 2>&1 &`;
  await needs(host.run(['sh', '-c', script, 'sh', jobFolder(job), ...changes]));
}

/** Ends it, and deletes what it wrote. */
export async function endNext(host: LabHost): Promise<void> {
  const script = `[ ! -e ${NEXT}/pid ] || { read -r pid rest <${NEXT}/pid && kill -s KILL -- "-$pid"; } && rm -rf ${NEXT}`;
  await needs(host.run(['sh', '-c', script]));
}

/** Ends the engine that runs as this job, as its stop does, and waits until it is gone; its log stays. */
export async function endJob(host: LabHost, job: string): Promise<void> {
  // The last of its starts.
  const script = `for turn in ${jobFolder(job)}/[0-9]*; do :; done; read -r pid rest <"$turn/pid" && kill -s TERM -- "-$pid" && while kill -0 -- "-$pid" 2>/dev/null; do sleep 1; done`;
  await needs(host.run(['sh', '-c', script]));
}

/** True once the log of a job has a line with the first text and none yet with the second. */
export async function isBetween(host: LabHost, job: string, since: string, until: string): Promise<boolean> {
  const { stdout } = await host.run(['sh', '-c', `cat ${logsOf(job)}`]);
  return stdout.includes(since) && !stdout.includes(until);
}

/** The rooms in the log of an engine, in which a prefill and a decode engine meet for one request. */
export const roomsOfJob = (host: LabHost, job: string) => roomsIn(host, logsOf(job));
export const roomsOfNext = (host: LabHost) => roomsIn(host, `${NEXT}/log`);

/** Rooms of one generation's engines. */
export interface Rooms {
  readonly prefill: ReadonlySet<string>;
  readonly decode: ReadonlySet<string>;
}
export const met = ({ prefill, decode }: Rooms): number => intersection(prefill, decode).length;
/** Rooms in which engines of two generations met. */
export const crossed = (one: Rooms, other: Rooms): readonly string[] => [
  ...intersection(one.prefill, other.decode),
  ...intersection(other.prefill, one.decode),
];
const intersection = (one: ReadonlySet<string>, other: ReadonlySet<string>) =>
  [...one].filter((room) => other.has(room));

const jobFolder = (job: string) => `/home/${USER}/.tandem/jobs/${job}`;
const logsOf = (job: string) => `${jobFolder(job)}/output`;

async function roomsIn(host: LabHost, logs: string): Promise<ReadonlySet<string>> {
  const { stdout } = await host.run([
    'sh',
    '-c',
    `grep -h -o -E '"bootstrap_room": ?[0-9]+' ${logs} | grep -o '[0-9]*$'`,
  ]);
  return new Set(stdout.split('\n').filter((room) => room !== '' && room !== '0'));
}
