import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ImageScenario } from '../scenario.ts';
import { daemonError, DockerError } from './command.ts';
import { argvOf, hostPath, NEVER, type Container, type LogLine } from './container.ts';
import {
  familiarName,
  findImage,
  needRegistry,
  parseReference,
  registryImage,
  withImage,
  type Image,
} from './images.ts';
import { runError, type ContainerConfig } from './run-flags.ts';
import type { StartUnit } from './unit.ts';

export interface DockerOptions {
  /** Folder for what survives a reboot: definitions of containers, images. */
  readonly dir: string;
  readonly host: string;
  readonly catalogue: readonly ImageScenario[];
  /** References of images that are there from the start. */
  readonly images: readonly string[];
  /** Counted on, also over reboots. */
  readonly counts: DockerCounts;
  readonly startUnit: StartUnit;
  /** A path on the simulated host → where it lies on this machine. */
  readonly resolvePath: (path: string) => string;
}

/** How many were ever created and started since the machine was made, removed ones included. */
export interface DockerCounts {
  created: number;
  started: number;
  pulled: number;
  /** Containers created, by name. */
  readonly byName: Record<string, number>;
}

export interface PullContext {
  /** Credentials of the client, by registry. */
  readonly auths: Readonly<Record<string, { readonly user: string; readonly password: string }>>;
  readonly signal: AbortSignal;
}

/** Groups by name that the images of ROCm have. */
const IMAGE_GROUPS: readonly string[] = ['root', 'users', 'video', 'render'];

/** Lines of a container's log that are kept. */
const LOG_LINES = 5000;

/** The Docker engine of one simulated host: what `dockerd` holds and does. Errors are `DockerError`s with its words. */
export class DockerEngine {
  images: readonly Image[];
  readonly containers = new Map<string, Container>();
  readonly counts: DockerCounts;
  readonly #options: DockerOptions;
  #starting = new Set<string>();
  #removing = new Set<string>();
  /** The machine went down: nothing is started or written any more, also not by a call that was under way. */
  #off = false;

  constructor(options: DockerOptions) {
    this.#options = options;
    this.counts = options.counts;
    mkdirSync(join(options.dir, 'containers'), { recursive: true });
    this.images = this.#loadImages();
    for (const file of readdirSync(join(options.dir, 'containers'))) {
      const kept = JSON.parse(readFileSync(join(options.dir, 'containers', file), 'utf8')) as Container;
      // Whatever ran when the machine went down is dead now.
      const state = kept.state.status === 'running' ? { ...kept.state, ...ended(137) } : kept.state;
      this.containers.set(kept.id, { ...kept, state, unit: undefined, log: [], followers: new Set() });
    }
  }

  /** By name, id or a unique beginning of an id. */
  find(text: string): Container {
    const all = [...this.containers.values()];
    const named = all.find(({ id, name }) => name === text.replace(/^\//, '') || id === text);
    if (named) return named;
    const some = /^[0-9a-f]+$/.test(text) ? all.filter(({ id }) => id.startsWith(text)) : [];
    if (some.length > 1) throw daemonError(`multiple IDs found with provided prefix: ${text}`);
    if (some.length === 0) throw daemonError(`No such container: ${text}`);
    return some[0]!;
  }

  image(text: string): Image {
    const found = findImage(this.images, text);
    if (!found) throw daemonError(`No such image: ${text}`);
    return found;
  }

  /** Fetches an image and says how, as the client prints it. */
  async pull(text: string, { auths, signal }: PullContext): Promise<{ image: Image; fresh: boolean; digest: string }> {
    const asked = parseReference(text);
    if (!asked) throw new DockerError('invalid reference format\n');
    const found = registryImage(this.#options.catalogue, asked, this.#options.host);
    const sameName = this.#options.catalogue.some(
      ({ reference }) => parseReference(reference)?.familiar === asked.familiar,
    );
    if (!found && sameName) {
      throw daemonError(`manifest for ${familiarName(asked)} not found: manifest unknown: manifest unknown`);
    }
    needRegistry(this.#options.catalogue, asked.registry);
    const denied = daemonError(
      `pull access denied for ${asked.familiar}, repository does not exist or may require 'docker login': denied: requested access to the resource is denied`,
    );
    if (!found) throw denied;
    const { login, pullSeconds } = found.entry;
    const given = auths[asked.registry];
    if (login && (given?.user !== login.user || given.password !== login.password)) {
      if (asked.registry === 'docker.io') throw denied;
      const path = asked.familiar.slice(asked.registry.length + 1);
      throw daemonError(
        `Head "https://${asked.registry}/v2/${path}/manifests/${asked.digest ?? asked.tag}": no basic auth credentials`,
      );
    }
    const fresh = !this.images.some(({ id }) => id === found.image.id);
    if (fresh) await sleep(pullSeconds * 1000, undefined, { signal });
    this.counts.pulled += 1;
    this.images = withImage(this.images, found.image);
    this.#saveImages();
    return { image: found.image, fresh, digest: found.image.digests[0]!.split('@')[1]! };
  }

  /** Gives an image that is here one more name. */
  tag(source: string, name: string): void {
    const image = this.image(source);
    const reference = parseReference(name);
    if (!reference || reference.digest !== undefined) throw daemonError(`invalid reference format: ${name}`);
    this.images = withImage(this.images, { ...image, tags: [familiarName(reference)] });
    this.#saveImages();
  }

  /** Makes a container. Errors: name taken, image unknown, device or mount source missing. */
  create(config: ContainerConfig): Container {
    if (this.#off) throw daemonError('the machine is going down');
    const image = findImage(this.images, config.image);
    if (!image) throw runError(`No such image: ${config.image}`);
    const name = config.name ?? `quiet_${randomBytes(4).toString('hex')}`;
    if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/.test(name)) {
      throw runError(`Invalid container name (${name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`);
    }
    const holder = [...this.containers.values()].find((other) => other.name === name);
    if (holder) {
      throw runError(
        `Conflict. The container name "/${name}" is already in use by container "${holder.id}". You have to remove (or rename) that container to be able to reuse that name.`,
      );
    }
    if (argvOf(config).length === 0) throw runError('no command specified');
    for (const { source, make } of config.mounts) {
      const path = this.#options.resolvePath(source);
      if (existsSync(path)) continue;
      if (!make) throw runError(`invalid mount config for type "bind": bind source path does not exist: ${source}`);
      mkdirSync(path, { recursive: true });
    }
    const container: Container = {
      id: randomBytes(32).toString('hex'),
      name,
      created: now(),
      imageId: image.id,
      config,
      state: CREATED,
      unit: undefined,
      log: [],
      followers: new Set(),
    };
    this.containers.set(container.id, container);
    this.counts.created += 1;
    this.counts.byName[name] = (this.counts.byName[name] ?? 0) + 1;
    this.#save(container);
    return container;
  }

  /** Starts a container that does not run. A program that does not exist is an error with exit code 127, as runc's. */
  async start(container: Container): Promise<void> {
    if (container.state.status === 'running' || this.#starting.has(container.id)) return;
    if (this.#off) throw daemonError('the machine is going down');
    const { config } = container;
    for (const device of config.devices) {
      const path = device.split(':')[0]!;
      if (existsSync(this.#options.resolvePath(path))) continue;
      const error = `error gathering device information while adding custom device "${path}": no such file or directory`;
      this.#set(container, { ...container.state, exitCode: 128, error });
      throw runError(error);
    }
    const unknown = config.groups.find((group) => !/^\d+$/.test(group) && !IMAGE_GROUPS.includes(group));
    if (unknown !== undefined) throw runError(`Unable to find group ${unknown}: no matching entries in group file`);
    for (const { source, target } of config.mounts) {
      const outer = config.mounts.find((mount) => mount.readOnly && target.startsWith(`${mount.target}/`));
      const there = hostPath(config, dirname(target)) ?? '/';
      if (outer && !existsSync(this.#options.resolvePath(`${there}/${basename(target)}`))) {
        throw runError(
          `failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: error mounting "${source}" to rootfs at "${target}": mkdir ${target}: read-only file system: unknown`,
        );
      }
    }
    this.#starting.add(container.id);
    const unit = await this.#options
      .startUnit({
        name: container.name,
        argv: argvOf(config),
        env: Object.fromEntries(
          config.env.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
        ),
        imageReference: this.images.find(({ id }) => id === container.imageId)?.tags[0] ?? config.image,
        devicesMapped: config.privileged || config.devices.some((device) => device.startsWith('/dev/kfd')),
        resolvePath: (path) => this.#options.resolvePath(hostPath(config, path) ?? `/only-in-the-container${path}`),
        log: (stream, text) => this.#append(container, stream, text),
      })
      .finally(() => this.#starting.delete(container.id));
    if (!unit) {
      const error = `failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: exec: "${argvOf(config)[0]}": executable file not found in $PATH`;
      this.#set(container, { ...container.state, exitCode: 127, error });
      throw runError(`${error}: unknown`, 127);
    }
    if (this.#off) {
      unit.signal('SIGKILL');
      await unit.exited;
      throw daemonError('the machine is going down');
    }
    this.counts.started += 1;
    container.unit = unit;
    this.#set(container, {
      status: 'running',
      pid: unit.pid,
      exitCode: 0,
      oomKilled: false,
      error: '',
      startedAt: now(),
      finishedAt: NEVER,
    });
    void unit.exited.then((exitCode) => {
      container.unit = undefined;
      this.#set(container, { ...container.state, ...ended(exitCode, unit.killedForMemory?.()) });
      if (config.autoRemove) this.#forget(container);
    });
  }

  /** The stop signal, then KILL after the limit. */
  async stop(container: Container, seconds: number | undefined, signal?: string): Promise<void> {
    const { unit, config } = container;
    if (!unit) return;
    unit.signal(signalName(signal ?? config.stopSignal));
    const limit = seconds ?? config.stopTimeout ?? 10;
    const timer = limit < 0 ? undefined : setTimeout(() => unit.signal('SIGKILL'), limit * 1000);
    await unit.exited;
    clearTimeout(timer);
  }

  kill(container: Container, signal: string): void {
    if (!container.unit)
      throw daemonError(`cannot kill container: ${container.name}: container ${container.id} is not running`);
    container.unit.signal(signalName(signal));
  }

  async remove(container: Container, force: boolean): Promise<void> {
    if (container.unit && !force) {
      throw daemonError(
        `cannot remove container "/${container.name}": container is running: stop the container before removing or force remove`,
      );
    }
    if (this.#removing.has(container.id))
      throw daemonError(`removal of container ${container.name} is already in progress`);
    this.#removing.add(container.id);
    if (container.unit) {
      const { exited } = container.unit;
      container.unit.signal('SIGKILL');
      await exited;
    }
    this.#forget(container);
  }

  /** All containers die, as in a power cut; the engine of the machine's next life is another one on the same folder. */
  async powerOff(): Promise<void> {
    this.#off = true;
    const units = [...this.containers.values()].flatMap(({ unit }) => (unit ? [unit] : []));
    for (const unit of units) unit.signal('SIGKILL');
    await Promise.all(units.map(({ exited }) => exited));
  }

  /** Stops every container, as the engine does before it ends. */
  async shutDown(): Promise<void> {
    await Promise.all([...this.containers.values()].map((container) => this.stop(container, undefined)));
    this.#off = true;
  }

  #append(container: Container, stream: LogLine['stream'], text: string): void {
    const line = { time: now(), stream, text };
    container.log.push(line);
    if (container.log.length > LOG_LINES) container.log.splice(0, container.log.length - LOG_LINES);
    for (const follow of container.followers) follow(line);
  }

  #set(container: Container, state: Container['state']): void {
    container.state = state;
    if (this.containers.has(container.id)) this.#save(container);
  }

  #file = ({ id }: Container) => join(this.#options.dir, 'containers', `${id}.json`);

  #save(container: Container): void {
    // Where somebody deleted the folder under a running simulator there is nothing to keep.
    if (this.#off || !existsSync(this.#options.dir)) return;
    const { id, name, created, imageId, config, state } = container;
    writeFileSync(this.#file(container), JSON.stringify({ id, name, created, imageId, config, state }), {
      mode: 0o600,
    });
  }

  #forget(container: Container): void {
    this.containers.delete(container.id);
    if (this.#off) return;
    rmSync(this.#file(container), { force: true });
  }

  #loadImages(): readonly Image[] {
    const file = join(this.#options.dir, 'images.json');
    if (existsSync(file)) return JSON.parse(readFileSync(file, 'utf8')) as Image[];
    return this.#options.images.reduce<readonly Image[]>((images, text) => {
      const reference = parseReference(text);
      const found = reference && registryImage(this.#options.catalogue, reference, this.#options.host);
      if (!found) throw new Error(`scenario: ${this.#options.host} has image ${text}, which "images" does not list`);
      return withImage(images, found.image);
    }, []);
  }

  #saveImages = () => {
    if (!this.#off) writeFileSync(join(this.#options.dir, 'images.json'), JSON.stringify(this.images));
  };
}

const now = () => new Date().toISOString().replace('Z', '000000Z');

const CREATED: Container['state'] = {
  status: 'created',
  pid: 0,
  exitCode: 0,
  oomKilled: false,
  error: '',
  startedAt: NEVER,
  finishedAt: NEVER,
};

const ended = (exitCode: number, oomKilled = false) => ({
  status: 'exited' as const,
  pid: 0,
  exitCode,
  oomKilled,
  finishedAt: now(),
});

function signalName(text: string) {
  const name = `SIG${text.toUpperCase().replace(/^SIG/, '')}`;
  const byNumber: Readonly<Record<string, string>> = {
    SIG15: 'SIGTERM',
    SIG9: 'SIGKILL',
    SIG2: 'SIGINT',
    SIG19: 'SIGSTOP',
    SIG18: 'SIGCONT',
  };
  const known = byNumber[name] ?? name;
  if (['SIGTERM', 'SIGKILL', 'SIGINT', 'SIGSTOP', 'SIGCONT'].includes(known)) {
    return known as 'SIGTERM' | 'SIGKILL' | 'SIGINT' | 'SIGSTOP' | 'SIGCONT';
  }
  throw daemonError(`invalid signal: ${text}`);
}
