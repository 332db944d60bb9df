// The panel as one file for anywidget; fails when it has grown too big to travel over a comm.
import { build } from 'esbuild';
import { readFile } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';

const LIMIT = 25 * 1024;
const OUT = '../src/gpuplug/static';

await build({
  entryPoints: ['src/widget/index.ts'],
  outfile: `${OUT}/panel.js`,
  bundle: true,
  format: 'esm',
  jsx: 'automatic',
  jsxImportSource: 'preact',
  minify: true,
  target: 'es2020'
});
await build({ entryPoints: ['style/panel.css'], outfile: `${OUT}/panel.css`, bundle: true, minify: true });
const size = gzipSync(await readFile(`${OUT}/panel.js`)).length;
console.log(`panel.js: ${size} bytes gzipped, at most ${LIMIT}`);
if (size > LIMIT) {
  process.exit(1);
}
