import type { Command } from 'commander';
import { execa } from 'execa';
import type { Finding } from '../checks/check.ts';
import { connectClient } from '../client.ts';
import { EXIT, jsonOption, print, reporting } from './output.ts';
import { requireSpec } from './spec-file.ts';
import { checkView, renderFindings } from './views/findings.ts';
import { verboseOption, type Shown } from './views/shown.ts';

export function addDoctor(program: Command): void {
  jsonOption(
    verboseOption(
      program
        .command('doctor [file]')
        .description(
          'Say what is missing before any deploy: on this machine and in Temporal; with a spec file also which right, tool or folder each host lacks.',
        ),
    ),
  ).action((file: string | undefined, { json, ...shown }: Shown & { json?: boolean }) =>
    reporting(json, async () => {
      const spec = file === undefined ? undefined : (await requireSpec(file)).spec;
      const site = spec?.site ?? 'default';
      const findings: Finding[] = [await sshClient()];
      const client = await connectClient();
      findings.push(...(await client.diagnose(site)));
      if (spec) findings.push(...(await client.ask<readonly Finding[]>('readiness', [{ spec }])));
      const view = checkView(findings);
      print(view, () => renderFindings(view, shown), json);
      if (view.verdict === 'fail') process.exitCode = EXIT.failed;
    }),
  );
}

async function sshClient(): Promise<Finding> {
  const { stderr, exitCode } = await execa('ssh', ['-V'], { reject: false });
  const at = { check: 'ssh-client', host: 'this machine' };
  return exitCode === 0
    ? { ...at, verdict: 'pass', evidence: stderr.trim() }
    : {
        ...at,
        verdict: 'fail',
        evidence: 'ssh is not on PATH',
        remedy: 'Install the OpenSSH client (Debian: openssh-client).',
      };
}
