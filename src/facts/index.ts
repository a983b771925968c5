import { amdSmiEnumeration, amdSmiList } from './amd-smi-list.ts';
import { amdSmiMetric } from './amd-smi-metric.ts';
import { amdSmiProcess } from './amd-smi-process.ts';
import { amdSmiStatic } from './amd-smi-static.ts';
import { amdSmiVersion } from './amd-smi-version.ts';
import { amdgpuModule } from './amdgpu-module.ts';
import { amdgpuSysfs } from './amdgpu-sysfs.ts';
import { diskFree } from './disk-free.ts';
import { dockerVersion } from './docker-version.ts';
import type { Fact } from './fact.ts';
import { ibWriteBw } from './ib-write-bw.ts';
import { ibstat } from './ibstat.ts';
import { ibvDevinfo } from './ibv-devinfo.ts';
import { kernelCmdline } from './kernel-cmdline.ts';
import { bootId, kernelRelease } from './kernel.ts';
import { memlock } from './limits.ts';
import { listeningPorts } from './listening-ports.ts';
import { numaBalancing } from './numa-balancing.ts';
import { providerLibraries } from './provider-libraries.ts';
import { rdmaDevices } from './rdma-devices.ts';
import { rdmaLink } from './rdma-link.ts';
import { rocmSmi } from './rocm-smi.ts';
import { rocmVersion } from './rocm-version.ts';
import { rocminfo } from './rocminfo.ts';

/** What every host is asked, in one batch: the facts that need no argument. */
export const ASKED_FACTS: readonly Fact<unknown>[] = [
  amdSmiStatic,
  amdSmiList,
  amdSmiEnumeration,
  amdSmiMetric,
  amdSmiProcess,
  amdSmiVersion,
  rocmSmi,
  rocminfo,
  amdgpuSysfs,
  amdgpuModule,
  rocmVersion,
  rdmaDevices,
  rdmaLink,
  ibvDevinfo,
  dockerVersion,
  listeningPorts,
  kernelRelease,
  bootId,
  memlock,
  numaBalancing,
  kernelCmdline,
];

/** Every fact: its name is also the name of a capture's file and of the folder with its test cases. */
export const FACTS: readonly Pick<Fact<unknown>, 'name' | 'parse'>[] = [
  ...ASKED_FACTS,
  ibstat,
  providerLibraries,
  ibWriteBw,
  diskFree,
];
