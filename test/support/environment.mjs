import { createHash } from 'node:crypto';
import { appendFileSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { basename, join, relative } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { TestEnvironment } from 'jest-environment-node';

const ROOT = join(import.meta.dirname, '..', '..');

/**
 * Where a suite runs. It has its addresses on loopback, which are fixed, alone: the same suite of another run on this
 * machine waits for it. And it has a folder of its own for what is temporary. What a failed suite left is ended and
 * deleted here; of what one left that passed the guard tells in the end, which is a failure of the run.
 */
export default class SuiteEnvironment extends TestEnvironment {
  #suite;
  #folder;
  #lock;
  #failed = false;
  #passed = false;

  constructor(config, context) {
    const suite = relative(ROOT, context.testPath);
    const run = process.env.TANDEM_TEST_RUN;
    // Short, since sockets lie in it.
    const folder = run && join(run, createHash('sha256').update(suite).digest('hex').slice(0, 4));
    // Before the environment is made, since it copies these; what the suite starts inherits them.
    process.env.TANDEM_TEST_SUITE = suite;
    if (folder) process.env.TMPDIR = folder;
    super(config, context);
    this.#suite = suite;
    this.#folder = folder;
  }

  async setup() {
    await super.setup();
    this.#lock = await alone(this.#suite);
    if (!this.#folder) return;
    mkdirSync(this.#folder, { recursive: true });
    appendFileSync(join(this.#folder, '..', 'suites'), `${basename(this.#folder)} ${this.#suite}\n`);
  }

  handleTestEvent({ name, test }, { rootDescribeBlock, testTimeout, unhandledErrors }) {
    // A test's or hook's own limit may be longer than that of all, never shorter: limits are in one place.
    if (name === 'run_start')
      for (const each of limited(rootDescribeBlock)) each.timeout = Math.max(each.timeout ?? 0, testTimeout);
    if (name === 'test_done' && test.errors.length > 0) this.#failed = true;
    if (name === 'run_finish') this.#passed = !this.#failed && unhandledErrors.length === 0;
  }

  async teardown() {
    // What stands at the top of a suite has no afterAll where the suite could not even begin.
    for (const end of [...(this.global[ENDS] ?? [])].reverse())
      await Promise.race([end(), delay(END_MS)]).catch(() => undefined);
    await super.teardown();
    if (this.#folder && !this.#passed) {
      endProcesses(this.#suite, this.#folder);
      rmSync(this.#folder, { recursive: true, force: true });
    } else if (this.#folder && readdirSync(this.#folder).length === 0) rmdirSync(this.#folder);
    this.#lock?.close();
  }
}

/** Ends what a suite may not have ended itself: see test/support/ends.ts. */
const ENDS = Symbol.for('tandem.tests.ends');
const END_MS = 30_000;

/** The tests and hooks of a block and of those in it. */
const limited = ({ hooks, children }) => [
  ...hooks,
  ...children.flatMap((child) => (child.type === 'test' ? [child] : limited(child))),
];

/** A socket of an abstract name: the kernel keeps it to one process, and frees it whatever ends that. */
async function alone(suite) {
  for (;;) {
    const server = createServer();
    const got = await new Promise((resolve, reject) => {
      server.once('error', (error) => (error.code === 'EADDRINUSE' ? resolve(false) : reject(error)));
      server.listen({ path: `\0tandem-tests/${suite}` }, () => resolve(true));
    });
    if (got) return server.unref();
    await delay(200);
  }
}

/** KILLs every process that says by its environment, folder or command line that it is of this suite, in this run. */
function endProcesses(suite, folder) {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)) {
    const environ = `\0${textOf(`/proc/${pid}/environ`)}`;
    const ofSuite = environ.includes(`\0TANDEM_TEST_SUITE=${suite}\0`) && environ.includes(`${folder}\0`);
    const shown = [environ, textOf(`/proc/${pid}/cmdline`), cwdOf(pid)].some((text) =>
      `${text}/`.includes(`${folder}/`),
    );
    if (ofSuite || shown) kill(Number(pid));
  }
}

function kill(pid) {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

function textOf(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function cwdOf(pid) {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return '';
  }
}
