// The papers of an archive: an SBOM in CycloneDX form and the licence texts of everything that is linked or bundled.
//
//   node papers.mjs CRATES.cdx.json TARGET SBOM.cdx.json LICENCES.txt
//
// CRATES.cdx.json is cargo-cyclonedx's list of the crates for TARGET, of which those that are linked stay; the packages in
// the page come from the build's own record, web/target/page.meta.json. The same sources give the same bytes.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [crateList, target, sbomFile, licencesFile] = process.argv.slice(2);
const readJson = (file) => JSON.parse(readFileSync(file, 'utf8'));

const sbom = readJson(crateList);
// A number and a time of its own would make every SBOM another one.
delete sbom.serialNumber;
delete sbom.metadata.timestamp;

const cargo = (...words) =>
    execFileSync('cargo', [...words, '--locked'], { encoding: 'utf8', maxBuffer: 2 ** 28 });

// cargo-cyclonedx also lists optional crates that no enabled feature asks for.
const tree = cargo('tree', '--edges=normal', '--prefix=none', '--format={p}', '--target', target);
const linked = new Set(tree.split('\n').map((line) => line.split(' ').slice(0, 2).join(' ')));
sbom.components = sbom.components.filter(({ name, version }) => linked.has(`${name} v${version}`));
const refs = new Set([sbom.metadata.component, ...sbom.components].map((part) => part['bom-ref']));
sbom.dependencies = sbom.dependencies
    .filter(({ ref }) => refs.has(ref))
    .map((entry) => ({ ...entry, dependsOn: entry.dependsOn?.filter((ref) => refs.has(ref)) }));

const metadata = JSON.parse(cargo('metadata', '--format-version=1', '--filter-platform', target));
const folders = new Map();
for (const { name, version, manifest_path } of metadata.packages) {
    folders.set(`${name} ${version}`, dirname(manifest_path));
}

// Names and versions of the npm packages whose files are in the page.
function bundled() {
    const packages = new Map();
    for (const input of Object.keys(readJson('web/target/page.meta.json').inputs)) {
        const at = input.lastIndexOf('node_modules/');
        if (at < 0) continue;
        const parts = input.slice(at + 'node_modules/'.length).split('/');
        const name = parts[0].startsWith('@') ? parts.slice(0, 2).join('/') : parts[0];
        const folder = join('web', input.slice(0, at), 'node_modules', name);
        const { version, license } = readJson(join(folder, 'package.json'));
        packages.set(`${name} ${version}`, { name, version, license, folder });
    }
    return [...packages.values()].sort((a, b) => (a.name + a.version < b.name + b.version ? -1 : 1));
}

const npm = bundled();
for (const { name, version, license } of npm) {
    const purl = `pkg:npm/${name.replace('@', '%40')}@${version}`;
    sbom.components.push({
        type: 'library',
        'bom-ref': purl,
        name,
        version,
        scope: 'required',
        ...(license ? { licenses: [{ license: { name: String(license) } }] } : {}),
        purl,
    });
}
// Paths of this machine are nobody else's business.
const text = JSON.stringify(sbom, null, 2)
    .replaceAll(pathToFileURL(process.cwd()).href, 'file://.')
    .replaceAll(process.cwd(), '.');
writeFileSync(sbomFile, text + '\n');

// Each text once, under the names of all that use it.
const texts = new Map();
function collect(title, folder) {
    const names = readdirSync(folder).filter((name) => /^(licen[cs]e|copying|notice|unlicense)/i.test(name));
    const files = names.sort().map((name) => join(folder, name));
    for (const file of files.filter((file) => statSync(file).isFile())) {
        const text = readFileSync(file, 'utf8').replaceAll('\r\n', '\n').trim();
        texts.set(text, [...(texts.get(text) ?? []), title]);
    }
}
for (const { name, version } of sbom.components.filter(({ purl }) => purl?.startsWith('pkg:cargo/'))) {
    const folder = folders.get(`${name} ${version}`);
    if (folder) collect(`${name} ${version} (crate)`, folder);
}
for (const { name, version, folder } of npm) collect(`${name} ${version} (npm)`, folder);
const sections = [...texts].map(([text, users]) => `${[...new Set(users)].join('\n')}\n\n${text}\n`);
writeFileSync(
    licencesFile,
    `Licences of what is linked into the programs or bundled into the page.\n\n${sections.join(`\n${'='.repeat(80)}\n\n`)}`
);
