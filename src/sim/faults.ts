import { z } from 'zod';

/** What goes wrong in a simulation, as data. `match` decides where: a regular expression on the words of a command joined by one blank. */

const where = {
  /** Host; default every host. */
  host: z.string().optional(),
  /** The first occurrence that it happens at, from 1. */
  nth: z.int().min(1).default(1),
  /** How many occurrences it happens at, in a row. Default: all that follow. */
  times: z.int().min(1).optional(),
};

const Pattern = z.string().refine((text) => {
  try {
    // oxlint-disable-next-line tandem/regexp-written-out -- A scenario is written by who runs the simulation.
    new RegExp(text, 's');
    return true;
  } catch {
    return false;
  }
}, 'must be a regular expression');

const command = { ...where, match: Pattern };

export const CommandFault = z.discriminatedUnion('does', [
  z.strictObject({
    ...command,
    does: z.literal('fails'),
    exitCode: z.int().min(1).max(255).default(1),
    stdout: z.string().default(''),
    stderr: z.string().default(''),
  }),
  /** No answer until the caller ends it. */
  z.strictObject({ ...command, does: z.literal('hangs') }),
  /** Killed before it did anything. */
  z.strictObject({ ...command, does: z.literal('dies') }),
  /** Does its work and is killed before it says so. Only simulated tools can. */
  z.strictObject({ ...command, does: z.literal('diesAfter') }),
  z.strictObject({ ...command, does: z.literal('answersLate'), afterMs: z.number().min(0) }),
  /** Exit 0 and this text. */
  z.strictObject({ ...command, does: z.literal('printsRubbish'), stdout: z.string().default('\u{fffd}#!$%\n') }),
]);
export type CommandFault = z.output<typeof CommandFault>;

/** `ssh`: connections to the host. */
const SshFault = z.discriminatedUnion('ssh', [
  /** Resets every connection, as an overloaded or firewalled host does. */
  z.strictObject({ ...where, ssh: z.literal('refuses') }),
  /** Accepts the connection and says nothing. */
  z.strictObject({ ...where, ssh: z.literal('silent') }),
  /** Cuts the connection so long after the login; each login is an occurrence. */
  z.strictObject({ ...where, ssh: z.literal('drops'), afterMs: z.number().min(0) }),
]);

/** `engine`: engines whose name (container) or words match. Each start is an occurrence. The keys of `engine` are EngineFaults of the simulated engine. */
const EngineFault = z.strictObject({
  ...where,
  match: Pattern.default(''),
  engine: z
    .strictObject({
      killedWhileLoading: z.boolean(),
      outOfMemory: z.boolean(),
      neverListens: z.boolean(),
      neverReady: z.boolean(),
      saysRole: z.enum(['prefill', 'decode']),
      exitsAfterReady: z.strictObject({ seconds: z.number(), exitCode: z.int() }),
      hangsAfterReady: z.strictObject({ seconds: z.number() }),
      transferStuck: z.boolean(),
    })
    .partial(),
});

export const Fault = z.union([CommandFault, SshFault, EngineFault]);
export type Fault = z.output<typeof Fault>;
export type SshFault = z.output<typeof SshFault>;
export type EngineFault = z.output<typeof EngineFault>;

/** Faults that are in force, and how often each was met. */
export class FaultBook {
  #faults: { readonly fault: Fault; met: number }[] = [];

  replace(faults: readonly Fault[]): void {
    this.#faults = faults.map((fault) => ({ fault, met: 0 }));
  }

  add(fault: Fault): void {
    this.#faults.push({ fault, met: 0 });
  }

  /** Whether any command of the host may meet a fault. */
  watches(host: string): boolean {
    return this.#faults.some(({ fault }) => 'does' in fault && onHost(fault, host));
  }

  /** The fault that this run of a command meets; counts it as an occurrence. */
  command(host: string, argv: readonly string[]): CommandFault | undefined {
    return this.#meet((fault): fault is CommandFault => 'does' in fault && onHost(fault, host) && matches(fault, argv));
  }

  engine(host: string, words: readonly string[]): EngineFault | undefined {
    return this.#meet(
      (fault): fault is EngineFault => 'engine' in fault && onHost(fault, host) && matches(fault, words),
    );
  }

  ssh(host: string): SshFault | undefined {
    return this.#meet((fault): fault is SshFault => 'ssh' in fault && onHost(fault, host));
  }

  #meet<T extends Fault>(is: (fault: Fault) => fault is T): T | undefined {
    let found: T | undefined;
    for (const entry of this.#faults) {
      const { fault } = entry;
      if (!is(fault)) continue;
      entry.met += 1;
      const last = fault.times === undefined ? Infinity : fault.nth + fault.times - 1;
      if (entry.met >= fault.nth && entry.met <= last) found ??= fault;
    }
    return found;
  }
}

const onHost = (fault: Fault, host: string) => fault.host === undefined || fault.host === host;
const matches = (fault: { readonly match: string }, words: readonly string[]) =>
  // oxlint-disable-next-line tandem/regexp-written-out -- As above.
  new RegExp(fault.match, 's').test(words.join(' '));
