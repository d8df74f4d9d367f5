// Builds the page into target/static, or with --tests the tests and the pictures into folders beside it.
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

process.chdir(fileURLToPath(new URL('.', import.meta.url)));

const page = {
    entryPoints: { set_up: 'src/main.tsx' },
    outdir: 'target/static',
    bundle: true,
    minify: true,
    format: 'iife',
    platform: 'browser',
    target: 'es2020',
    jsx: 'automatic',
    // Splunk Web loads the file beside RequireJS, whose `define` libraries inside the bundle would take for theirs.
    define: { 'process.env.NODE_ENV': '"production"', define: 'undefined', global: 'window' },
    // moment brings all its languages along, and the page speaks one.
    external: ['./locale/*'],
    legalComments: 'linked',
    // Says which packages are in the page, for the SBOM.
    metafile: true,
    logLevel: 'warning',
};

const tests = (kind) => ({
    entryPoints:
        kind === 'pictures'
            ? ['tests/pictures.ts']
            : readdirSync(`tests/${kind}`)
                  .filter((name) => name.endsWith('.test.ts'))
                  .map((name) => `tests/${kind}/${name}`),
    outdir: `target/${kind}`,
    outExtension: { '.js': '.cjs' },
    bundle: true,
    format: 'cjs',
    platform: 'node',
    target: 'node20',
    external: ['playwright-core', 'axe-core'],
    logLevel: 'warning',
});

if (process.argv.includes('--tests')) {
    for (const kind of ['unit', 'browser', 'pictures']) {
        rmSync(`target/${kind}`, { recursive: true, force: true });
        await build(tests(kind));
    }
} else {
    rmSync('target/static', { recursive: true, force: true });
    const { metafile } = await build(page);
    writeFileSync('target/page.meta.json', JSON.stringify(metafile));
}
