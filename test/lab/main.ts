/**
 * A lab for people: `npm run lab -- up [HOSTS]`, `down`, `shell HOST`, `run HOST -- COMMAND`. Hosts are named h1, h2, …
 * `sweep NAMES` is what the guard of the tests calls: it takes down what they left of these, and prints what that was.
 */
import { inHost } from './host.ts';
import { siteOf, startLab, sweep, takeDownAll, whyNoLab, type LabName } from './lab.ts';

const USAGE = 'usage: npm run lab -- up [HOSTS] | down | shell HOST | run HOST -- COMMAND';
const [verb, ...words] = process.argv.slice(2);
function usage(): never {
  console.error(USAGE);
  process.exit(2);
}
const why = await whyNoLab();
if (why !== undefined) {
  console.error(`no lab can run here: ${why}`);
  process.exit(1);
}
switch (verb) {
  case 'up': {
    const count = Number(words[0] ?? 4);
    if (!(Number.isInteger(count) && count >= 1 && count <= 200)) usage();
    const hosts = Array.from({ length: count }, (_, index) => ({ name: `h${index + 1}` }));
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
  case 'sweep':
    for (const line of await sweep(words as LabName[])) console.log(line);
    break;
  case 'shell':
  case 'run': {
    const [host, ...after] = words;
    const rest = after[0] === '--' ? after.slice(1) : after;
    if (host === undefined || (verb === 'run') !== rest.length > 0) usage();
    const { exitCode } = await inHost(siteOf('hand'), host, verb === 'run' ? rest : ['bash', '-l'], {
      stdio: 'inherit',
    });
    process.exitCode = exitCode;
    break;
  }
  default:
    usage();
}
