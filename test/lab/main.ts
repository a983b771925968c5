/**
 * A lab for people: `npm run lab -- up [HOSTS]`, `down`, `shell HOST`, `run HOST -- COMMAND`. Hosts are named h1, h2, …
 */
import { inHost } from './host.ts';
import { siteOf, startLab, takeDownAll, whyNoLab } from './lab.ts';

const USAGE = 'usage: npm run lab -- up [HOSTS] | down | shell HOST | run HOST -- COMMAND';
const [verb, ...words] = process.argv.slice(2);
const why = await whyNoLab();
if (why !== undefined) {
  console.error(`no lab can run here: ${why}`);
  process.exit(1);
}
switch (verb) {
  case 'up': {
    const hosts = Array.from({ length: Number(words[0] ?? 4) }, (_, index) => ({ name: `h${index + 1}` }));
    const lab = await startLab('hand', hosts);
    for (const { name, address } of lab.hosts)
      console.log(
        `${name}  ssh -F ${lab.configFile} -i ${lab.identityFile} -o UserKnownHostsFile=${lab.knownHostsFile} ${lab.user}@${address}`,
      );
    break;
  }
  case 'down':
    await takeDownAll();
    break;
  case 'shell':
  case 'run': {
    const [host, ...rest] = words.filter((word) => word !== '--');
    if (host === undefined || (verb === 'run' && rest.length === 0)) {
      console.error(USAGE);
      process.exit(2);
    }
    const { exitCode } = await inHost(siteOf('hand'), host, verb === 'run' ? rest : ['bash', '-l'], {
      stdio: 'inherit',
    });
    process.exitCode = exitCode;
    break;
  }
  default:
    console.error(USAGE);
    process.exitCode = 2;
}
