/** Why an engine ended, read from its exit code and log. Texts: SGLang 0.5.10.post1 and 0.5.23 as they were run; see `explainExit`. */
export interface ExitReason {
  readonly kind:
    | 'wrong-flag'
    | 'port-taken'
    | 'gpu-memory'
    | 'host-memory'
    | 'model-missing'
    | 'terminated'
    | 'scheduler'
    | 'killed'
    | 'other';
  /** Goes after "<engine> on <host> ended with exit code N: ". */
  readonly because: string;
  /** Names the spec key to change. */
  readonly remedy: string;
}

export interface Exit {
  readonly exitCode: number | undefined;
  readonly oomKilled: boolean;
  readonly log: string;
  readonly role: 'prefill' | 'decode';
}

/** The first rule that fits wins: the specific ones first, since a dying scheduler leaves several marks. */
export function explainExit(exit: Exit): ExitReason {
  for (const rule of RULES) {
    const reason = rule(exit);
    if (reason) return reason;
  }
  return {
    kind: 'other',
    because: lastError(exit.log) ?? lastLine(exit.log) ?? 'it printed nothing',
    remedy: 'Read its log, quoted here from the end; the cause is most often a flag of engine.args or a missing file.',
  };
}

const RULES: readonly ((exit: Exit) => ExitReason | undefined)[] = [
  function wrongFlag({ exitCode, log, role }) {
    const line = /error: ((?:unrecognized arguments|argument |ambiguous option|the following arguments).*)/.exec(
      log,
    )?.[1];
    if (exitCode !== 2 || line === undefined) return undefined;
    return {
      kind: 'wrong-flag',
      because: `SGLang refused its flags: ${line}`,
      remedy: `Correct engine.args or ${role}.args; engine.version says by which flags \`tandem validate\` judges them.`,
    };
  },
  function portTaken({ log }) {
    const line = lineWith(log, /\[Errno 98\]/);
    if (line === undefined) return undefined;
    return {
      kind: 'port-taken',
      because: `a port was taken: ${line}`,
      remedy: 'End what listens on that port, or change engine.ports.',
    };
  },
  function gpuMemory({ log }) {
    const line = lineWith(
      log,
      /OutOfMemoryError|(?:HIP|CUDA) out of memory|hipErrorOutOfMemory|leave no GPU memory|Not enough memory\. Please try/,
    );
    if (line === undefined) return undefined;
    return {
      kind: 'gpu-memory',
      because: `out of GPU memory: ${line}`,
      remedy:
        'Lower mem-fraction-static or max-running-requests in engine.args, or give the role more GPUs (gpus.count); `amd-smi` shows what else holds memory.',
    };
  },
  function hostMemory({ exitCode, oomKilled, log }) {
    const line = lineWith(log, /OS OOM killer|Cannot allocate memory|std::bad_alloc|^MemoryError/);
    if (!oomKilled && line === undefined) return undefined;
    return {
      kind: 'host-memory',
      because: oomKilled
        ? `the kernel killed it, the host or the container was out of memory (exit code ${exitCode ?? 'unknown'})`
        : `out of memory on the host: ${line}`,
      remedy:
        'Free memory on the host (`dmesg` names what the kernel killed), or raise engine.shmSizeGiB where /dev/shm is full.',
    };
  },
  function modelMissing({ log }) {
    const line =
      lineWith(
        log,
        /OSError: Repo id must be|HFValidationError|not a valid model identifier|not appear to have a file named|Cannot find any model weights/,
      ) ?? missingFile(log);
    if (line === undefined) return undefined;
    return {
      kind: 'model-missing',
      because: `the model could not be read: ${line}`,
      remedy:
        'Check that model.source holds a whole model (config.json, tokenizer, weights) and that model.dir is mounted.',
    };
  },
  function terminated({ exitCode, log }) {
    // Below 0.5.19 an engine that has drained kills itself: 137 then is how SIGTERM ends, and no lack of memory.
    if (exitCode !== 143 && !log.includes('SIGTERM received')) return undefined;
    return {
      kind: 'terminated',
      because: 'it was told to end (SIGTERM)',
      remedy: 'Find out who stops containers or jobs on that host, then run the operation again.',
    };
  },
  function scheduler({ log }) {
    const line = lineWith(log, /Received sigquit from a child process|scheduler died|kill_process_tree called/);
    if (line === undefined) return undefined;
    return {
      kind: 'scheduler',
      because: `it ended itself after its scheduler died: ${lastError(log) ?? line}`,
      remedy: 'The error is in the log, quoted here from the end; correct engine.args or engine.env.',
    };
  },
  function killed({ exitCode }) {
    if (exitCode !== 137) return undefined;
    return {
      kind: 'killed',
      because: 'it was killed (SIGKILL) without a word, most often by the kernel for lack of memory',
      remedy:
        'Look at `dmesg` on the host for "Out of memory"; free memory there or lower what the engine takes (engine.args).',
    };
  },
];

const lines = (log: string) => log.split('\n').map((line) => line.trim());
/** A line whole, however long: it is cut where the error leaves the activity, behind redaction. */
const said = (line: string | undefined) => (line === '' ? undefined : line);
const lineWith = (log: string, mark: RegExp) => said(lines(log).find((line) => mark.test(line)));
/** A file of a model that was not found, named behind the error. */
const missingFile = (log: string) =>
  said(
    lines(log).find((line) => {
      const at = line.search(/FileNotFoundError|OSError/);
      return at >= 0 && /config\.json|safetensors|tokenizer/.test(line.slice(at));
    }),
  );
const lastLine = (log: string) => said(lines(log).findLast((line) => line !== ''));
/** The last "SomeError: text": a Python traceback ends with it. */
const lastError = (log: string) =>
  said(lines(log).findLast((line) => /^(?:\[[^\]]*\] )?[\w.]*(?:Error|Exception): /.test(line)));
