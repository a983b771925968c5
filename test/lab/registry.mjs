/**
 * Two registries on this loopback, where Docker takes plain HTTP: their every repository has one image, tagged 1, of one
 * empty layer. The second gives it only with a login. Arguments: port, port, user:password.
 */
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';

const [open, closed, login] = process.argv.slice(2);
const digestOf = (bytes) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const DOCKER = 'application/vnd.docker';
const layer = Buffer.alloc(1024); // What tar makes of nothing.
const config = Buffer.from(
  JSON.stringify({
    architecture: 'amd64',
    os: 'linux',
    config: {},
    rootfs: { type: 'layers', diff_ids: [digestOf(layer)] },
  }),
);
const part = (mediaType, bytes) => ({ mediaType, size: bytes.length, digest: digestOf(bytes) });
const manifest = Buffer.from(
  JSON.stringify({
    schemaVersion: 2,
    mediaType: `${DOCKER}.distribution.manifest.v2+json`,
    config: part(`${DOCKER}.container.image.v1+json`, config),
    layers: [part(`${DOCKER}.image.rootfs.diff.tar`, layer)],
  }),
);
const blobs = new Map([layer, config, manifest].map((bytes) => [digestOf(bytes), bytes]));

const registry =
  (needed) =>
  ({ url, headers }, answer) => {
    const send = (status, body, more = {}) => {
      answer.writeHead(status, { 'Content-Length': body.length, ...more });
      answer.end(body);
    };
    const refuse = (status, code, message, more) =>
      send(status, JSON.stringify({ errors: [{ code, message }] }), { 'Content-Type': 'application/json', ...more });
    const given = headers.authorization?.replace(/^Basic /, '');
    if (needed !== undefined && given !== Buffer.from(needed).toString('base64'))
      return refuse(401, 'UNAUTHORIZED', 'authentication required', { 'WWW-Authenticate': 'Basic realm="lab"' });
    const [, of, reference] = /\/(manifests|blobs)\/([^/]+)$/.exec(url) ?? [];
    if (of === undefined) return send(200, '{}');
    const bytes = reference === '1' ? manifest : blobs.get(reference);
    if (bytes === undefined) return refuse(404, 'MANIFEST_UNKNOWN', 'manifest unknown');
    const type = of === 'manifests' ? `${DOCKER}.distribution.manifest.v2+json` : 'application/octet-stream';
    return send(200, bytes, { 'Content-Type': type, 'Docker-Content-Digest': digestOf(bytes) });
  };
createServer(registry()).listen(Number(open), '127.0.0.1');
createServer(registry(login)).listen(Number(closed), '127.0.0.1');
