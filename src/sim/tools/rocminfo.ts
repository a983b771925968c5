import type { GpuView, Machine } from '../machine.ts';
import { printed, refused, type Tool } from './tool.ts';

/** `rocminfo`: two CPU agents, then one agent per GPU, each pool listed as the tool does. */
export const rocminfo: Tool = (machine, args) => {
  if (args.length > 0) return refused(`rocminfo: unrecognized option '${args[0]}'\n`);
  if (machine.scenario.driver === 'absent') {
    return refused('ROCk module is NOT loaded, possibly no GPU devices\n');
  }
  const version = machine.scenario.driver ? ` version ${machine.scenario.driver}` : '';
  const agents = [cpuAgent(1), cpuAgent(2), ...machine.gpus.map((gpu) => gpuAgent(machine, gpu))];
  return printed(
    `ROCk module${version} is loaded\n=====================    \nHSA System Attributes    \n=====================    \nRuntime Version:         1.18\nRuntime Ext Version:     1.14\nSystem Timestamp Freq.:  1000.000000MHz\nMachine Model:           LARGE                              \nSystem Endianness:       LITTLE                             \n\n==========               \nHSA Agents               \n==========               \n${agents.join('')}*** Done ***             \n`,
  );
};

const field = (indent: number, name: string, value: string) =>
  `${' '.repeat(indent)}${`${name}:`.padEnd(25 - (indent > 2 ? indent - 2 : 0))}${value}\n`;

const heading = (agent: number) =>
  `*******                  \nAgent ${agent}                  \n*******                  \n`;

const pools = (kiB: number) =>
  `  Pool Info:               \n${[1, 2, 3]
    .map(
      (pool) =>
        `    Pool ${pool}                   \n${field(6, 'Segment', `GLOBAL; FLAGS: ${['COARSE GRAINED', 'EXTENDED FINE GRAINED', 'FINE GRAINED'][pool - 1]}`)}${field(6, 'Size', `${kiB}(0x${kiB.toString(16)}) KB`)}${field(6, 'Allocatable', 'TRUE')}`,
    )
    .join('')}`;

function cpuAgent(agent: number): string {
  const name = 'AMD EPYC 9654 96-Core Processor';
  return (
    heading(agent) +
    field(2, 'Name', name) +
    field(2, 'Uuid', 'CPU-XX') +
    field(2, 'Marketing Name', name) +
    field(2, 'Vendor Name', 'CPU') +
    field(2, 'Device Type', 'CPU') +
    pools(1_056_494_000)
  );
}

function gpuAgent({ product }: Machine, gpu: GpuView): string {
  const bdf = parseInt(gpu.pci.slice(5, 7), 16) * 256;
  return (
    heading(gpu.index + 3) +
    field(2, 'Name', product.target) +
    field(2, 'Uuid', `GPU-${gpu.serial.slice(2).toLowerCase()}`) +
    field(2, 'Marketing Name', product.marketName) +
    field(2, 'Vendor Name', 'AMD') +
    field(2, 'Device Type', 'GPU') +
    field(2, 'Chip ID', `${parseInt(product.deviceId, 16)}(${product.deviceId})`) +
    field(2, 'BDFID', String(bdf)) +
    field(2, 'Compute Unit', String(product.computeUnits)) +
    pools(gpu.hbmMiB * 1024) +
    `  ISA Info:                \n    ISA 1                    \n${field(6, 'Name', `amdgcn-amd-amdhsa--${product.target}:sramecc+:xnack-`)}`
  );
}
