import { amdSmi } from './amd-smi.ts';
import { ibstat, ibvDevices, ibvDevinfo, rdma } from './rdma.ts';
import { rocmSmi } from './rocm-smi.ts';
import { rocminfo } from './rocminfo.ts';
import { dmesg, getent, hostname, id, nproc, sysctl, uname, whoami } from './system.ts';
import type { Tool } from './tool.ts';

/** Simulated tools that only print what the machine is. Those that act (docker, ib_write_bw, ps, ss, df, sudo) are the host's. */
export const TOOLS: Readonly<Record<string, Tool>> = {
  'amd-smi': amdSmi,
  'rocm-smi': rocmSmi,
  rocminfo,
  ibv_devices: ibvDevices,
  ibv_devinfo: ibvDevinfo,
  ibstat,
  rdma,
  uname,
  hostname,
  nproc,
  whoami,
  getent,
  id,
  dmesg,
  sysctl,
};
