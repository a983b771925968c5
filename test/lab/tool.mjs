// A tool of hardware that a lab host does not have: prints what /etc/tandem-lab.json says, by the simulator's own code.
// ib_write_bw meets its other end over the real network and measures what the slower device could.
import { readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { TOOLS } from '../../dist/src/sim/tools/index.js';

/** Seconds of a test take so long, in milliseconds. */
const SECOND_MS = 50;

const [name, ...args] = process.argv.slice(2);
const machine = JSON.parse(readFileSync('/etc/tandem-lab.json', 'utf8'));
if (name === 'ib_write_bw') writeBandwidth();
else {
  const { stdout, stderr, exitCode } = TOOLS[name](machine, args);
  process.stdout.write(stdout);
  process.stderr.write(stderr);
  process.exitCode = exitCode;
}

function writeBandwidth() {
  const value = (flag) => args[args.indexOf(flag) + 1];
  const nic = machine.nics.find(({ device }) => device === value('-d'));
  if (!nic) return fail(`IB device ${value('-d')} not found`);
  const mine = nic.rateGbps * nic.efficiency;
  const port = Number(value('-p'));
  const server = args.at(-1);
  const meet = (socket) => {
    socket.on('error', () => fail('Completion with error at client'));
    socket.write(`${mine}\n`);
    socket.once('data', (theirs) =>
      setTimeout(() => tell(Math.min(mine, Number(theirs)), socket), SECOND_MS * Number(value('-D'))),
    );
  };
  if (/^[\d.]+$/.test(server) && server.includes('.'))
    connect({ host: server, port })
      .once('error', () => fail(`Couldn't connect to ${server}:${port}`))
      .once('connect', function () {
        meet(this);
      });
  else {
    const listener = createServer((socket) => (listener.close(), meet(socket)));
    listener.listen(port);
  }
}

function tell(gbps, socket) {
  socket.end();
  console.log(' #bytes     #iterations    BW peak[Gb/sec]    BW average[Gb/sec]   MsgRate[Mpps]');
  console.log(
    ` 65536      1000           0.00               ${gbps.toFixed(2)}             ${(gbps / 0.524288).toFixed(4)}`,
  );
}

function fail(why) {
  console.error(why);
  process.exit(1);
}
