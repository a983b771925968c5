import { DeployError } from '../errors.ts';
import { read } from '../facts/fact.ts';
import { hostPicture, unitRow, type HostPicture, type Kept, type PictureScope } from '../facts/host-picture.ts';
import { listeningPorts } from '../facts/listening-ports.ts';
import { dockerFailure } from './docker.ts';
import { keptIn, LIST } from './kept-logs.ts';
import { LOOK, numberAfter, unitNumber, wordsOf, type Places } from './picture-look.ts';
import { jobsSeen, processRows, readLook, type Look, type Ownership } from './picture-processes.ts';
import { LABELS, type Command, type Host, type Output } from './types.ts';
import { weightsCorrupt } from './weights/errors.ts';
import { bytesOf, MARK, parseManifest } from './weights/files.ts';
import { ending, raw, type Raw } from '../text/raw.ts';

const SHORT_MS = 60_000;
/** Prints a file that may not be there. */
const SHOW_IF_THERE = '[ ! -e "$1" ] || exec cat -- "$1"';

/**
 * The picture of one host, in one round trip after that of the leases. Folders that all clusters share (stateDir, jobs
 * and deployments in it, leaseDir, folders above the weights) are nobody's and are not in it.
 */
export async function takePicture(host: Host, asked: PictureScope): Promise<HostPicture> {
  const [stateDir, leaseDir, modelPath] = await Promise.all(
    [host.ref.stateDir, host.ref.leaseDir, asked.modelPath].map((path) => host.expand(path)),
  );
  const scope: Places = { ...asked, stateDir: stateDir!, leaseDir: leaseDir!, modelPath: modelPath! };
  const questions = questionsOf(scope);
  const leases = await host.leases.list();
  const outputs = await host.runAll(
    questions.map(({ command }) => command),
    { parallel: true },
  );
  const answered = (name: Question['name']) =>
    questions.flatMap((question, index) => (question.name === name ? [{ ...question, output: outputs[index]! }] : []));

  const look = readLook(must(host, 'state', answered('state')[0]!.output));
  const containers = answered('containers').flatMap(({ output }) => readContainers(mustDocker(host, 'ps', output)));
  const owned = ownershipOf(scope, [...leases, ...containers, ...look.jobs]);
  const jobs = jobsSeen(look, scope, owned);
  const ports = answered('ports').flatMap(({ output }) => portsTaken(host, scope, output));
  return hostPicture(
    host.ref.name,
    {
      container: containers.filter(isOurs(scope)).map(({ name, running }) => unitRow(name, running)),
      job: jobs.filter(({ whole }) => whole).map(({ name, running }) => unitRow(name, running)),
      process: processRows(look, scope, jobs, owned),
      file: [
        ...jobs.filter(({ whole }) => !whole).map(({ folder }) => `${scope.stateDir}/jobs/${folder}/`),
        ...filesOf(look, scope, owned),
      ],
      port: ports,
      mount: mountsOf(look, scope, owned),
      lease: leases
        .filter((lease) => lease.cluster === scope.cluster && lease.installation === scope.installation)
        .map(({ pci, installation, deployment }) => `${pci}, deployment ${deployment} of installation ${installation}`),
    },
    [
      ...keptIn(must(host, 'logs', answered('logs')[0]!.output), `${stateDir}/logs`, scope.cluster).map(
        ({ path, bytes }) => ({ kind: 'log' as const, what: path, bytes }),
      ),
      ...answered('image').flatMap(({ what, output }) => keptImage(host, what!, output)),
      ...keptWeights(host, scope.modelPath, must(host, 'weights', answered('mark')[0]!.output)),
    ],
  );
}

interface Question {
  readonly name: 'state' | 'mark' | 'logs' | 'ports' | 'containers' | 'image';
  readonly what?: string;
  readonly command: Command;
}

function questionsOf(scope: Places): Question[] {
  const { stateDir, leaseDir, modelPath, cluster, docker, ports, images } = scope;
  const ask = (name: Question['name'], argv: readonly string[], what?: string): Question => ({
    name,
    command: { argv, timeoutMs: SHORT_MS },
    ...(what === undefined ? {} : { what }),
  });
  const containers = (filter: string) =>
    ask('containers', ['docker', 'ps', '-a', '--no-trunc', '--filter', filter, '--format', '{{json .}}']);
  return [
    ask('state', ['sh', '-c', LOOK, 'sh', stateDir, modelPath, leaseDir, cluster, wordsOf(scope)]),
    ask('mark', ['sh', '-c', SHOW_IF_THERE, 'sh', `${modelPath}/${MARK}`]),
    ask('logs', ['sh', '-c', LIST, 'sh', `${stateDir}/logs`]),
    ...(ports.length > 0 ? [ask('ports', listeningPorts.command())] : []),
    ...(docker
      ? [
          containers(`label=${LABELS.cluster}=${cluster}`),
          containers(`name=^/?tandem-${cluster}-(prefill|decode|router)-[0-9]+-[0-9]+$`),
          ...images.map((image) =>
            ask('image', ['docker', 'image', 'inspect', '--format', '{{json .Size}}', image], image),
          ),
        ]
      : []),
  ];
}

// ---- Whose it is

interface Container {
  readonly name: string;
  readonly running: boolean;
  /** Undefined where the label is missing. */
  readonly cluster: string | undefined;
  readonly installation: string | undefined;
  readonly deployment: number;
}

/** By its name alone it is ours only where no label says otherwise. */
const isOurs =
  ({ cluster, installation }: Places) =>
  (container: Container): boolean =>
    (container.cluster ?? cluster) === cluster && (container.installation ?? installation) === installation;

function ownershipOf(
  { cluster, installation }: Places,
  labelled: readonly Pick<Container, 'cluster' | 'installation' | 'deployment'>[],
): Ownership {
  const numbers = (ours: boolean) =>
    new Set(
      labelled
        .filter((row) => row.cluster === cluster && row.installation !== undefined)
        .filter((row) => (row.installation === installation) === ours)
        .map(({ deployment }) => deployment),
    );
  const [ours, theirs] = [numbers(true), numbers(false)];
  return (deployment) => ours.has(deployment) || !theirs.has(deployment);
}

// ---- Reading

function readContainers(text: string): Container[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const { Names, State, Labels } = JSON.parse(line) as { Names: string; State: string; Labels: string };
      // Values of other labels hold commas, these never do.
      const label = (key: string) =>
        Labels.split(',')
          .find((text) => text.startsWith(`${key}=`))
          ?.slice(key.length + 1);
      return {
        name: Names,
        running: State === 'running',
        cluster: label(LABELS.cluster),
        installation: label(LABELS.installation),
        deployment: Number(label(LABELS.deployment) ?? /-(\d+)$/.exec(Names)?.[1]),
      };
    });
}

function filesOf({ files, partials, unmarked, asides }: Look, scope: Places, owned: Ownership): string[] {
  const { cluster, installation, modelPath, stateDir, leaseDir } = scope;
  const numbered = (folder: string) => numberAfter(`${cluster}-`, folder.split('/')[0]!, '');
  const ofOurs = (work: string) => numberAfter(`${modelPath}.partial-${cluster}-`, work, `-${installation}`);
  const own = JSON.stringify({ cluster, installation }).slice(0, -1);
  return [
    ...files
      .filter((path) => {
        const deployment = numbered(path);
        return deployment !== undefined && owned(deployment);
      })
      .map((path) => `${stateDir}/deployments/${path}`),
    ...partials.filter((work) => ofOurs(work) !== undefined).map((work) => `${work}/`),
    ...(unmarked.some((work) => ofOurs(work) !== undefined) ? [`${modelPath}/ without its completion mark`] : []),
    ...asides.filter(({ content }) => content.startsWith(`${own},`)).map(({ name }) => `${leaseDir}/${name}`),
  ];
}

/** Mount points in our folders; in those of other clusters they are not ours, and stateDir itself may well be one. */
function mountsOf({ mounts }: Look, { cluster, stateDir, modelPath }: Places, owned: Ownership): string[] {
  return mounts.filter((point) => {
    if (point.startsWith(`${modelPath}/`) || point.startsWith(`${modelPath}.partial-${cluster}-`)) return true;
    if (!point.startsWith(`${stateDir}/`)) return false;
    const [room, folder = ''] = point.slice(stateDir.length + 1).split('/');
    const deployment =
      room === 'jobs'
        ? unitNumber(cluster, folder)
        : room === 'deployments'
          ? numberAfter(`${cluster}-`, folder, '')
          : 0;
    return deployment !== undefined && owned(deployment);
  });
}

function portsTaken(host: Host, { ports }: Places, output: Output): string[] {
  const { address, fabricAddress } = host.ref;
  const listening = read(listeningPorts, output);
  if (listening.value === undefined) throw unreadable(host, 'which ports are taken', raw(listening.why));
  // A listener on a loopback address that is not the host's own is in nobody's way.
  const foreign = (at: string) => /^(127\.|\[?::1)/.test(at) && at !== address && at !== fabricAddress;
  return listening.value
    .filter((listener) => ports.includes(listener.port) && !foreign(listener.address))
    .map((listener) => `${listener.address}:${listener.port}`);
}

function keptImage(host: Host, image: string, output: Output): Kept[] {
  if (output.exitCode !== 0 && /no such image/i.test(output.stderr)) return [];
  return [{ kind: 'image', what: image, bytes: Number(mustDocker(host, 'image', output)) }];
}

function keptWeights(host: Host, path: string, mark: string): Kept[] {
  if (mark === '') return [];
  try {
    return [{ kind: 'weights', what: path, bytes: bytesOf(parseManifest(MARK, mark)) }];
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    const remedy = `Remove it on ${host.ref.name}: the weights beside it are then verified again.`;
    throw weightsCorrupt({ host: host.ref.name, file: `${path}/${MARK}`, seen: error.message, remedy });
  }
}

// ---- What cannot be read

function must(host: Host, what: string, output: Output): string {
  assertWhole(host, what, output);
  if (output.exitCode === 0) return output.stdout;
  throw unreadable(host, what, ending(output.stderr || output.stdout));
}

function mustDocker(host: Host, command: string, output: Output): string {
  assertWhole(host, `docker ${command}`, output);
  if (output.exitCode === 0) return output.stdout;
  throw dockerFailure(host, [command], output);
}

function assertWhole(host: Host, what: string, output: Output): void {
  if (output.truncated) throw unreadable(host, what, raw('more was printed than the driver keeps'));
  if (!output.timedOut) return;
  throw new DeployError({
    code: 'COMMAND_TIMEOUT',
    message: `${host.ref.name}: its picture (${what}) was not ready within ${SHORT_MS / 1000} s`,
    remedy: `See on ${host.ref.name} what is slow: a disk, /proc with very many processes, or the Docker daemon.`,
    retryable: true,
    host: host.ref.name,
  });
}

const unreadable = (host: Host, what: string, evidence: Raw) =>
  new DeployError({
    code: 'COMMAND_FAILED',
    message: `${host.ref.name}: it cannot be seen what is left there (${what})`,
    remedy: `Check on ${host.ref.name} that ${host.ref.user} may read ${host.ref.stateDir} and ${host.ref.leaseDir}, and has find, grep and ss.`,
    retryable: false,
    host: host.ref.name,
    evidence,
  });
