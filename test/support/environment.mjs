import { createHash } from 'node:crypto';
import { appendFileSync, mkdirSync, readdirSync, rmdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { basename, join, relative } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { TestEnvironment } from 'jest-environment-node';

const ROOT = join(import.meta.dirname, '..', '..');

/**
 * Where a suite runs. It has a folder of its own for what is temporary, of which the guard tells when it is not empty in
 * the end; and its addresses on loopback, which are fixed: the same suite of another run on this machine waits for it.
 */
export default class SuiteEnvironment extends TestEnvironment {
  #suite;
  #run = process.env.TANDEM_TEST_RUN;
  #lock;

  constructor(config, context) {
    const suite = relative(ROOT, context.testPath);
    const run = process.env.TANDEM_TEST_RUN;
    // Before the environment is made, since it copies these; what the suite starts inherits them.
    process.env.TANDEM_TEST_SUITE = suite;
    if (run !== undefined) process.env.TMPDIR = folderOf(run, suite);
    super(config, context);
    this.#suite = suite;
  }

  async setup() {
    await super.setup();
    this.#lock = await alone(this.#suite);
    if (this.#run === undefined) return;
    const folder = folderOf(this.#run, this.#suite);
    mkdirSync(folder, { recursive: true });
    appendFileSync(join(this.#run, 'suites'), `${basename(folder)} ${this.#suite}\n`);
  }

  /** A test's or hook's own limit may be longer than that of all, never shorter: limits are in one place. */
  handleTestEvent({ name }, { rootDescribeBlock, testTimeout }) {
    if (name !== 'run_start') return;
    for (const each of limited(rootDescribeBlock)) each.timeout = Math.max(each.timeout ?? 0, testTimeout);
  }

  async teardown() {
    await super.teardown();
    this.#lock?.close();
    if (this.#run === undefined) return;
    const folder = folderOf(this.#run, this.#suite);
    if (readdirSync(folder).length === 0) rmdirSync(folder); // Else the guard tells; the suite's own failures come first.
  }
}

/** The tests and hooks of a block and of those in it. */
const limited = ({ hooks, children }) => [
  ...hooks,
  ...children.flatMap((child) => (child.type === 'test' ? [child] : limited(child))),
];

/** Short, since sockets lie in it. */
const folderOf = (run, suite) => join(run, createHash('sha256').update(suite).digest('hex').slice(0, 4));

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
