/**
 * Write the built files, which are kept in the repository: `npm ci && npm run build`.
 *
 *   lib/metronome.cjs       for `require`
 *   lib/metronome.min.js    for a <script>
 *   ../../metronome/web/apis/client.js    the same script, which the gateway serves at /apis/javascript.js
 *   lib/metronome-video.min.js            for a <script>: `watchVideo` alone
 *   ../../metronome/web/apis/video.js     the same, which the gateway serves at /apis/video.js
 *
 * The first line of each says from which sources it was made: the SHA-256 of all that the build reads.
 * `node build.js <folder>` writes elsewhere, for the test that compares.
 */

import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const root = process.argv[2] ?? join(here, "../..");
const { version } = JSON.parse(readFileSync(join(here, "package.json"), "utf8"));

const sources = ["build.js", "package.json", ...readdirSync(join(here, "src")).sort().map((name) => `src/${name}`)];
const hash = createHash("sha256");
for (const name of sources) hash.update(`${name}\0`).update(readFileSync(join(here, name))).update("\0");
const banner = { js: `/*! metronome-events ${version}, Apache-2.0, sources ${hash.digest("hex")} */` };

async function make(entry, options, ...outputs) {
  const common = { bundle: true, charset: "utf8", target: "es2022", legalComments: "none", banner, write: false };
  const made = await build({ ...common, ...options, entryPoints: [join(here, "src", entry)] });
  for (const output of outputs) {
    mkdirSync(dirname(join(root, output)), { recursive: true });
    writeFileSync(join(root, output), made.outputFiles[0].contents);
  }
}

await make(
  "commonjs.js",
  { format: "cjs", platform: "node", footer: { js: "module.exports = module.exports.default;" } },
  "clients/javascript/lib/metronome.cjs",
);
await make(
  "script.js",
  { format: "iife", minify: true },
  "clients/javascript/lib/metronome.min.js",
  "metronome/web/apis/client.js",
);
await make(
  "video-script.js",
  { format: "iife", minify: true },
  "clients/javascript/lib/metronome-video.min.js",
  "metronome/web/apis/video.js",
);
