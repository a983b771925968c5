import { describe, expect, it } from '@jest/globals';
import { explainExit, type Exit } from '../../activities/engine-exit.ts';

const exit = (exitCode: number | undefined, log: string, rest: Partial<Exit> = {}) =>
  explainExit({ exitCode, oomKilled: false, log, role: 'decode', ...rest });

// The texts are those of SGLang 0.5.23; what 0.5.10.post1 says otherwise is named.
describe('an engine that ended is explained', () => {
  it.each<[string, number, string, string, RegExp, RegExp]>([
    [
      'an unknown flag',
      2,
      'usage: sglang serve [-h]\nsglang serve: error: unrecognized arguments: --no-such-flag 1',
      'wrong-flag',
      /--no-such-flag 1/,
      /decode\.args/,
    ],
    [
      'a flag with a bad choice',
      2,
      "sglang serve: error: argument --disaggregation-transfer-backend: invalid choice: 'bogus' (choose from 'mooncake', 'nixl')",
      'wrong-flag',
      /invalid choice: 'bogus'/,
      /engine\.args/,
    ],
    [
      'a taken HTTP port, although the log says "fired up" and that it killed itself',
      137,
      'ERROR: [Errno 98] error while attempting to bind on address\nThe server is fired up and ready to roll!\nkill_process_tree called: parent_pid=1',
      'port-taken',
      /Errno 98/,
      /engine\.ports/,
    ],
    [
      'no GPU memory for the KV cache, although the scheduler is what died',
      137,
      'ValueError: Loaded weights leave no GPU memory for the KV cache, raise --mem-fraction-static\nReceived sigquit from a child process. It usually means the child failed.\nkill_process_tree called',
      'gpu-memory',
      /leave no GPU memory/,
      /mem-fraction-static/,
    ],
    [
      'HIP out of memory',
      1,
      'torch.OutOfMemoryError: HIP out of memory. Tried',
      'gpu-memory',
      /HIP out/,
      /gpus\.count/,
    ],
    [
      'a scheduler that the kernel killed',
      1,
      'RuntimeError: Rank 0 scheduler died during initialization (exit code: -9). If exit code is -9 (SIGKILL), a common cause is the OS OOM killer.',
      'host-memory',
      /OOM killer/,
      /dmesg/,
    ],
    ['SIGTERM while it loads', 143, 'Load weight begin. avail mem=191.20 GB', 'terminated', /SIGTERM/, /who stops/],
    [
      'SIGTERM of an SGLang below 0.5.19, which kills itself once it has drained',
      137,
      'SIGTERM received. signum=None frame=None. Draining requests and shutting down...\nGracefully exiting... Remaining number of requests 0. Remaining requests remaining_rids=[].\nkill_process_tree called',
      'terminated',
      /SIGTERM/,
      /who stops/,
    ],
    [
      'a model folder that is missing',
      1,
      "Traceback (most recent call last):\nOSError: Repo id must be in the form 'repo_name' or 'namespace/repo_name'",
      'model-missing',
      /Repo id/,
      /model\.source/,
    ],
    [
      'a scheduler that died of an error',
      137,
      '[2026-11-24 16:00:00] ValueError: TP size 8 does not divide 12\nReceived sigquit from a child process.\nkill_process_tree called',
      'scheduler',
      /TP size 8/,
      /engine\.args/,
    ],
    ['SIGKILL without a word', 137, 'loading weights', 'killed', /SIGKILL/, /dmesg/],
    [
      'anything else, by its last error',
      1,
      'x\nImportError: no module named aiter\n',
      'other',
      /aiter/,
      /engine\.args/,
    ],
    ['silence', 1, '', 'other', /printed nothing/, /log/],
  ])('%s', (_, code, log, kind, because, remedy) => {
    expect(exit(code, log)).toEqual({
      kind,
      because: expect.stringMatching(because),
      remedy: expect.stringMatching(remedy),
    });
  });

  it('as killed for memory when the container engine says so, whatever the log says', () => {
    expect(exit(137, 'loading weights', { oomKilled: true })).toMatchObject({ kind: 'host-memory' });
  });

  it('as no wrong flag when the argparse text comes with another exit code', () => {
    expect(exit(1, 'x: error: unrecognized arguments: y').kind).toBe('other');
  });

  it('in a line that is whole however long, since a cut before redaction would leave half of a secret', () => {
    const line = `OSError: Repo id must be ${'x'.repeat(20_000)}`;
    expect(exit(1, `${line}\n`).because).toContain(line);
  });
});
