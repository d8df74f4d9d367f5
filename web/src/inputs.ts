/**
 * Inputs and their secrets. A secret goes to `storage/passwords` first, into the one entry that the program reads, and
 * the stanza is written with the mask; when splunkd does not take the stanza, the entry is put back as it was.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js';

import { argumentsOf, type Kind, MASK, secretsOf } from './declaration';
import { APP, EVERYWHERE, type Entry, type Form, get, inApp, isOn, post, remove, RestError, segment, text } from './splunk';

const MAX_NAME_CHARS = 64;
/** Splunk's own settings of an input that the page shows. */
export const SPLUNKS_OWN = ['interval', 'index'];

/** A stored secret goes to an address, and another address must not get it unseen. */
export const GOES_TO: Record<string, string> = { proxy_password: 'proxy_url', hec_token: 'hec_url' };

export interface Input {
    kind: Kind;
    name: string;
    app: string;
    isDisabled: boolean;
    values: Form;
}

export const fullName = (kind: Kind, name: string): string => `${kind}://${name}`;

/** The user name of an input's entry in secure storage; the program's `file_stem`. */
export function fileStem(input: string): string {
    const name = input.slice(input.indexOf('://') + 3);
    const kept = Array.from(name)
        .slice(0, MAX_NAME_CHARS)
        .map((character) => (/^[A-Za-z0-9_-]$/.test(character) ? character : '_'));
    return `${kept.join('')}-${bytesToHex(sha256(utf8ToBytes(input))).slice(0, 8)}`;
}

const path = (kind: Kind, name?: string, ...rest: string[]): string =>
    ['data/inputs', kind, ...(name === undefined ? [] : [segment(name)]), ...rest].join('/');

function valuesOf(kind: Kind, entry: Entry | undefined): Form {
    const keys = [...argumentsOf(kind).map((argument) => argument.name), ...SPLUNKS_OWN];
    return Object.fromEntries(keys.map((key) => [key, text(entry, key)]));
}

/** All inputs of a kind on this instance, and whether splunkd says that more can be created. */
export async function listInputs(kind: Kind): Promise<{ inputs: Input[]; mayCreate: boolean }> {
    const answer = await get(path(kind), { count: '0' }, EVERYWHERE);
    const inputs = answer.entry.map((entry) => ({
        kind,
        name: entry.name,
        app: entry.acl?.app ?? APP,
        isDisabled: isOn(entry.content['disabled']),
        values: valuesOf(kind, entry),
    }));
    return { inputs, mayCreate: answer.links === undefined || 'create' in answer.links };
}

/** What holds for a new input of this kind. */
export async function defaultsOf(kind: Kind): Promise<Form> {
    return valuesOf(kind, (await get(path(kind, '_new'))).entry[0]);
}

export const enable = (input: Input, isOn: boolean): Promise<unknown> =>
    post(path(input.kind, input.name, isOn ? 'enable' : 'disable'), {}, inApp(input.app));

/** The stanza first, so that no run is left without its key; then what was stored for it. */
export async function deleteInput(input: Input): Promise<void> {
    await remove(path(input.kind, input.name), inApp(input.app));
    if (secretsOf(input.kind).some((secret) => input.values[secret] === MASK)) {
        await forget(entryOf(input.kind, input.name));
    }
}

export interface Change {
    kind: Kind;
    name: string;
    /** Where the stanza is, or undefined for a new one. */
    app?: string | undefined;
    /** All arguments, and Splunk's own; of a secret only whether one is stored, as the mask. */
    values: Form;
    /** Of a secret: its text, or '' to drop it, or nothing to leave it as it is. */
    secrets: Form;
    /** The input whose stored secrets a new one starts with. */
    cloneOf?: string | undefined;
    /** What holds without the stanza: not written into a new one. */
    defaults: Form;
}

/**
 * Saves an input; the program tests it meanwhile.
 * @throws RestError with the program's sentence; secure storage is then as it was.
 */
export async function saveInput(change: Change): Promise<void> {
    const { kind, name, app, values, secrets, cloneOf, defaults } = change;
    const isNew = app === undefined;
    const names = secretsOf(kind);
    const entry = entryOf(kind, name);
    const hasStored = names.some((secret) => values[secret] === MASK);
    if (isNew) {
        // Before anything is stored, or another input would lose its secrets to this one.
        const { inputs } = await listInputs(kind);
        if (inputs.some((input) => input.name === name)) {
            throw new RestError(409, `An input with the name ${name} already exists.`);
        }
    }
    const touched = isNew ? hasStored || Object.values(secrets).some(Boolean) : Object.keys(secrets).length > 0;
    let before: Form | null = null;
    let after: Form = {};
    if (touched) {
        const stored = hasStored ? await readSecrets(entryOf(kind, cloneOf ?? name)) : null;
        before = isNew ? null : stored;
        after = { ...stored, ...secrets };
        // The program sends a stored secret to a new address only if that stands beside it: the stanza with the mask does
        // not say that it was entered again.
        for (const [secret, address] of Object.entries(GOES_TO)) {
            after[address] = after[secret] ? (values[address] ?? '') : '';
        }
        after = Object.fromEntries(Object.entries(after).filter(([, value]) => value !== ''));
        await writeSecrets(entry, after, before !== null);
    }
    const form: Form = isNew ? { name } : {};
    for (const argument of argumentsOf(kind)) {
        const value = argument.secret ? '' : (values[argument.name] ?? '');
        if (!argument.secret && !(isNew && value === (defaults[argument.name] ?? ''))) {
            form[argument.name] = value;
        }
    }
    for (const own of SPLUNKS_OWN) {
        const value = values[own] ?? '';
        if (value !== '' && !(isNew && value === defaults[own])) {
            form[own] = value;
        }
    }
    for (const secret of names) {
        const isStored = touched ? secret in after : values[secret] === MASK;
        if (isStored || !isNew) {
            form[secret] = isStored ? MASK : '';
        }
    }
    try {
        await post(path(kind, isNew ? undefined : name), form, inApp(app));
    } catch (error) {
        if (touched) {
            await putBack(entry, before, error);
        }
        throw error;
    }
}

// ---- secure storage ----

const STORAGE = 'storage/passwords';

const entryOf = (kind: Kind, name: string): string => fileStem(fullName(kind, name));

const storagePath = (entry: string): string => `${STORAGE}/${segment(`${APP}:${entry}:`)}`;

async function readSecrets(entry: string): Promise<Form | null> {
    try {
        const stored = (await get(storagePath(entry))).entry[0];
        const secrets: unknown = JSON.parse(text(stored, 'clear_password') || '{}');
        return secrets as Form;
    } catch (error) {
        if (error instanceof RestError && error.status === 404) {
            return null;
        }
        // What is stored is not the program's form; it takes that for nothing, too.
        if (error instanceof SyntaxError) {
            return {};
        }
        throw error;
    }
}

async function writeSecrets(entry: string, secrets: Form, isThere: boolean): Promise<void> {
    if (Object.keys(secrets).length === 0) {
        if (isThere) await forget(entry);
        return;
    }
    const password = JSON.stringify(secrets);
    if (!isThere) {
        try {
            await post(STORAGE, { name: entry, realm: APP, password });
            return;
        } catch (error) {
            // An input of this name was deleted elsewhere, and its secrets were left.
            if (!(error instanceof RestError && error.status === 409)) throw error;
        }
    }
    await post(storagePath(entry), { password });
}

/** Secure storage as it was before a save that failed with `error`. */
async function putBack(entry: string, before: Form | null, error: unknown): Promise<void> {
    try {
        await (before === null ? forget(entry) : writeSecrets(entry, before, true));
    } catch (problem) {
        const what = before === null ? 'The new secret is still in secure storage' : 'The secret from before could not be put back: enter it again';
        const status = error instanceof RestError ? error.status : 0;
        throw new RestError(status, `${sentenceOf(error)} ${what} (${sentenceOf(problem)}).`);
    }
}

async function forget(entry: string): Promise<void> {
    try {
        await remove(storagePath(entry));
    } catch (error) {
        if (!(error instanceof RestError && error.status === 404)) {
            throw error;
        }
    }
}

// ---- what splunkd and the program say ----

/** The program's sentence without what splunkd puts in front of it. */
export function sentenceOf(error: unknown): string {
    const message = error instanceof Error ? error.message : String(error);
    return message
        .replace(/^Encountered the following error while trying to (save|update):\s*/, '')
        .replace(/^Argument validation for scheme=\S+:\s*/, '');
}
