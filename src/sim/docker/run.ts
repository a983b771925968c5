import { readFileSync } from 'node:fs';
import { engineOf, type Run } from './call.ts';
import { DockerError } from './command.ts';
import { findImage } from './images.ts';
import { authsOf, pullText } from './registry.ts';
import { readRun } from './run-flags.ts';

/** docker run */
export async function run({ host, call, args, config, ...rest }: Run): Promise<number> {
  const request = readRun(args, call.env, (path) => readFileSync(host.resolvePath(path), 'utf8'));
  let engine;
  try {
    engine = engineOf({ host, call, args, config, ...rest }, 'containers/create');
  } catch (error) {
    if (!(error instanceof DockerError)) throw error;
    throw new DockerError(`docker: ${error.message}\nRun 'docker run --help' for more information\n`, 125);
  }
  const { image } = request.config;
  const missing = !findImage(engine.images, image);
  if (request.pull === 'always' || (missing && request.pull !== 'never')) {
    if (missing && !request.quiet) call.stderr(`Unable to find image '${image}' locally\n`);
    try {
      const pulled = await engine.pull(image, { auths: authsOf(host, call, config), signal: call.signal });
      if (!request.quiet) call.stderr(pullText(image, pulled));
    } catch (error) {
      if (!(error instanceof DockerError)) throw error;
      throw new DockerError(`docker: ${error.message}\nRun 'docker run --help' for more information\n`, 125);
    }
  }
  const container = engine.create(request.config);
  if (request.detach) {
    await engine.start(container);
    call.stdout(`${container.id}\n`);
    return 0;
  }
  const show = ({ stream, text }: { readonly stream: 'stdout' | 'stderr'; readonly text: string }) =>
    call[stream](text);
  container.followers.add(show);
  await engine.start(container);
  const { unit } = container;
  const onGone = () => unit?.signal('SIGTERM'); // The client passes its own end on.
  call.signal.addEventListener('abort', onGone);
  const exitCode = unit ? await unit.exited : container.state.exitCode;
  call.signal.removeEventListener('abort', onGone);
  return exitCode;
}
