import type { Finding } from '../src/checks/check.ts';
import type { Drivers } from '../src/drivers/types.ts';
import type { HostRef } from '../src/plan/types.ts';
import { signal } from './context.ts';

export interface HostNeeds {
  readonly ref: HostRef;
  /** Programs without which a deploy cannot do its work here, by what they are for. */
  readonly tools: readonly { readonly tool: string; readonly use: string; readonly advisory?: boolean }[];
  /** Folders that must be writable, by the spec key that names them. */
  readonly folders: readonly { readonly path: string; readonly key: string }[];
  readonly docker: boolean;
}

const PROBE_TIMEOUT_MS = 15_000;

/** True for a folder that is writable, or that can be made: its nearest parent that exists is writable. */
const WRITABLE = 'at=$1; while [ ! -e "$at" ]; do at=$(dirname "$at"); done; [ -d "$at" ] && [ -w "$at" ]';
const AMD_PATH = 'PATH=$PATH:/opt/rocm/bin; command -v "$1"';

/** What a host lacks before any deploy: rights, tools, folders. */
export function createReadinessActivities(drivers: Drivers) {
  return {
    async hostReadiness({ ref, tools, folders, docker }: HostNeeds): Promise<Finding[]> {
      const host = drivers.host(ref, signal());
      const paths = await Promise.all(folders.map(({ path }) => host.expand(path)));
      const outputs = await host.runAll([
        ...tools.map(({ tool }) => ({ argv: ['sh', '-c', AMD_PATH, 'sh', tool], timeoutMs: PROBE_TIMEOUT_MS })),
        ...paths.map((path) => ({ argv: ['sh', '-c', WRITABLE, 'sh', path], timeoutMs: PROBE_TIMEOUT_MS })),
        ...(docker
          ? [{ argv: ['docker', 'version', '--format', '{{.Server.Version}}'], timeoutMs: PROBE_TIMEOUT_MS }]
          : []),
      ]);
      const ok = (at: number) => outputs[at]?.exitCode === 0;
      const dockerAt = tools.length + folders.length;
      return [
        {
          check: 'host-login',
          host: ref.name,
          verdict: 'pass',
          evidence: `logged in as ${ref.user} at ${ref.address}:${ref.port}`,
        },
        ...tools.map(({ tool, use, advisory }, at): Finding =>
          ok(at)
            ? {
                check: 'host-tool',
                host: ref.name,
                verdict: 'pass',
                evidence: `${tool} is at ${outputs[at]!.stdout.trim()}`,
              }
            : {
                check: 'host-tool',
                host: ref.name,
                verdict: advisory ? 'warn' : 'fail',
                evidence: `${tool} is not on PATH, wanted for ${use}`,
                remedy: `Install ${tool} on ${ref.name}.`,
              },
        ),
        ...folders.map(({ key }, at): Finding =>
          ok(tools.length + at)
            ? { check: 'host-folder', host: ref.name, verdict: 'pass', evidence: `${key} ${paths[at]} is writable` }
            : {
                check: 'host-folder',
                host: ref.name,
                verdict: 'fail',
                evidence: `${key} ${paths[at]} is not writable for ${ref.user} and cannot be made`,
                remedy: `On ${ref.name}, as root: install -d -m 2775 -o root -g "$(id -gn ${ref.user})" '${paths[at]}'`,
              },
        ),
        ...(docker
          ? [
              ok(dockerAt)
                ? ({
                    check: 'host-docker',
                    host: ref.name,
                    verdict: 'pass',
                    evidence: `Docker Engine ${outputs[dockerAt]!.stdout.trim()} answers ${ref.user}`,
                  } as const)
                : ({
                    check: 'host-docker',
                    host: ref.name,
                    verdict: 'fail',
                    evidence: `docker version: ${outputs[dockerAt]?.timedOut ? 'no answer within its limit' : (outputs[dockerAt]?.stderr.trim() ?? '')}`,
                    remedy: `Install Docker Engine on ${ref.name} and give ${ref.user} the right to use it (usermod -aG docker ${ref.user}), or set hosts.ssh.become: sudo.`,
                  } as const),
            ]
          : []),
      ];
    },
  };
}
