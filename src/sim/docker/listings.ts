import { engineOf, type Run } from './call.ts';
import { daemonError, DockerError } from './command.ts';
import { psRow } from './container.ts';
import { format } from './format.ts';
import { parseReference, type Image } from './images.ts';

/** docker ps */
export function ps(it: Run): number {
  const { flags, call } = it;
  const filters = flags.list('filter').map((filter) => {
    const [key, value] = [filter.split('=')[0]!, filter.slice(filter.indexOf('=') + 1)];
    if (!filter.includes('='))
      throw new DockerError(
        `invalid argument "${filter}" for "-f, --filter" flag: invalid filter '${filter}'\n\nUsage:  docker ps [OPTIONS]\n\nRun 'docker ps --help' for more information\n`,
        125,
      );
    if (!['label', 'name', 'id', 'status', 'ancestor'].includes(key)) throw daemonError(`invalid filter '${key}'`);
    return { key, value };
  });
  const engine = engineOf(it, 'containers/json');
  const named = (key: string) => filters.filter((filter) => filter.key === key).map(({ value }) => value);
  const any = (values: readonly string[], is: (value: string) => boolean) => values.length === 0 || values.some(is);
  const last = flags.has('latest') ? 1 : Number(flags.value('last') ?? -1);
  const all = flags.has('all') || last > 0 || named('status').length > 0;
  const rows = [...engine.containers.values()]
    .filter(
      (container) =>
        (all || container.state.status === 'running') &&
        // Labels must all be there; of the other filters one of each kind is enough.
        named('label').every((label) => hasLabel(container.config.labels, label)) &&
        any(named('name'), (name) => matchesName(container.name, name)) &&
        any(named('id'), (id) => container.id.startsWith(id)) &&
        any(named('status'), (status) => container.state.status === status) &&
        any(named('ancestor'), (image) => container.config.image === image || container.imageId === image),
    )
    .toSorted((one, other) => other.created.localeCompare(one.created))
    .slice(0, last > 0 ? last : undefined)
    .map((container) => psRow(container, !flags.has('no-trunc')));
  if (flags.has('quiet')) call.stdout(rows.map((row) => `${row['ID']}\n`).join(''));
  else
    call.stdout(
      table(rows, flags.value('format'), {
        'CONTAINER ID': 'ID',
        IMAGE: 'Image',
        COMMAND: 'Command',
        CREATED: 'RunningFor',
        STATUS: 'Status',
        PORTS: 'Ports',
        NAMES: 'Names',
      }),
    );
  return 0;
}

function hasLabel(labels: Readonly<Record<string, string>>, asked: string): boolean {
  const equals = asked.indexOf('=');
  return equals < 0 ? asked in labels : labels[asked.slice(0, equals)] === asked.slice(equals + 1);
}

/** The filter is a regular expression on "/name" or "name". */
function matchesName(name: string, pattern: string): boolean {
  // oxlint-disable-next-line tandem/regexp-written-out -- As Docker does; what Tandem asks for is its own constant.
  const expression = new RegExp(pattern);
  return expression.test(name) || expression.test(`/${name}`);
}

/** docker images */
export function images(it: Run): number {
  const { flags, call } = it;
  const word = flags.words[0];
  const asked = word === undefined ? undefined : parseReference(word);
  const full = flags.has('no-trunc');
  const rows = engineOf(it, 'images/json').images.flatMap((image) =>
    names(image)
      .filter(
        ([repository, tag]) => !asked || (repository === asked.familiar && (!word!.includes(':') || tag === asked.tag)),
      )
      .map(([repository, tag]): Readonly<Record<string, string>> => ({
        Containers: 'N/A',
        CreatedAt: '2026-04-27 08:00:00 +0000 UTC',
        CreatedSince: '6 months ago',
        Digest: image.digests[0]?.split('@')[1] ?? '<none>',
        ID: full ? image.id : image.id.slice(7, 19),
        Repository: repository,
        SharedSize: 'N/A',
        Size: `${(image.sizeBytes / 1e9).toFixed(1)}GB`,
        Tag: tag,
        UniqueSize: 'N/A',
        VirtualSize: `${(image.sizeBytes / 1e9).toFixed(1)}GB`,
      })),
  );
  if (flags.has('quiet')) call.stdout([...new Set(rows.map((row) => `${row['ID']}\n`))].join(''));
  else
    call.stdout(
      table(rows, flags.value('format'), {
        REPOSITORY: 'Repository',
        TAG: 'Tag',
        ...(flags.has('digests') ? { DIGEST: 'Digest' } : {}),
        'IMAGE ID': 'ID',
        CREATED: 'CreatedSince',
        SIZE: 'Size',
      }),
    );
  return 0;
}

function names(image: Image): [repository: string, tag: string][] {
  if (image.tags.length === 0) return [[image.digests[0]?.split('@')[0] ?? '<none>', '<none>']];
  return image.tags.map((name) => [name.slice(0, name.lastIndexOf(':')), name.slice(name.lastIndexOf(':') + 1)]);
}

function table(
  rows: readonly Readonly<Record<string, string>>[],
  template: string | undefined,
  heads: Readonly<Record<string, string>>,
): string {
  if (template !== undefined && !template.startsWith('table'))
    return rows.map((row) => `${format(template, row)}\n`).join('');
  if (template !== undefined) throw new DockerError(`the simulated docker knows no ${template}\n`);
  const cells = [Object.keys(heads), ...rows.map((row) => Object.values(heads).map((key) => row[key] ?? ''))];
  const widths = Object.keys(heads).map((_, at) => Math.max(...cells.map((row) => row[at]!.length)) + 3);
  return cells
    .map(
      (row) =>
        `${row
          .map((cell, at) => cell.padEnd(widths[at]!))
          .join('')
          .trimEnd()}\n`,
    )
    .join('');
}
