/**
 * What kind of key a text or file is, by the rules of the program (`src/docusign/rsa_key.rs`) and in its words: what it
 * takes is taken here, and what it refuses is refused here, at once. Both are held to the same table,
 * `tests/fixtures/test_only_key_cases.json`. Nothing of the text is ever repeated.
 */
import { type KeyKind, keyProblem } from './declaration';

export type KeyReading = { kind: 'rsa'; sentence: string } | { kind: KeyKind; sentence: string };

/** What the program's library signs with. */
const MIN_BITS = 2048;
const MAX_BITS = 8192;

/** Bytes at the start of a key in DER that contain the number of its algorithm. */
const HEAD_BYTES = 40;

const RSA = '06092a864886f70d010101';
const PASSWORD_BASED = '06092a864886f70d0105';
const PKCS7_DATA = '02010330';
const VERSION_0 = '02010030';
const ELLIPTIC = 'an elliptic curve (EC) key';

/** Kinds of keys that are not RSA, by the numbers of their algorithms in DER. */
const OTHER_KINDS: [string, string][] = [
    ['06092a864886f70d01010a', 'an RSA-PSS key'],
    ['06072a8648ce3d0201', ELLIPTIC],
    ['06072a8648ce380401', 'a DSA key'],
    ['06032b656e', 'an X25519 key'],
    ['06032b656f', 'an X448 key'],
    ['06032b6570', 'an Ed25519 key'],
    ['06032b6571', 'an Ed448 key'],
];

/** Kinds of keys that are not RSA, by the label of their PEM. */
const OTHER_LABELS: Record<string, string> = {
    EC: ELLIPTIC,
    DSA: 'a DSA key',
    OPENSSH: 'an OpenSSH key',
    'SSH2 ENCRYPTED': 'an OpenSSH key',
};

/** An RSA key of so many bits, or what it is instead. */
type Verdict = { bits: number } | { kind: KeyKind; other?: string };

/** What the base64 of a text contains: a key in DER, PEM once more, or neither. */
type Found = { der: Uint8Array } | { pem: string } | { kind: KeyKind; other?: string };

export function readKey(text: string): KeyReading {
    const found = find(text);
    return say(verdict('pem' in found ? find(found.pem) : found));
}

function verdict(found: Found): Verdict {
    if ('der' in found) return fromDer(found.der);
    return 'pem' in found ? { kind: 'damaged' } : found;
}

/** A file, which need not be text. */
export function readKeyFile(bytes: Uint8Array): { text: string } | KeyReading {
    const start = hex(bytes.slice(0, 4));
    if (start.startsWith('fffe') || start.startsWith('feff') || start === '2d002d00' || start === '002d002d') {
        return say({ kind: 'utf16' });
    }
    let text: string | undefined;
    try {
        text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    } catch {
        text = undefined;
    }
    if (text !== undefined) {
        return { text };
    }
    if (bytes[0] !== SEQUENCE) {
        return say({ kind: 'not_text' });
    }
    if (head(bytes).includes(PKCS7_DATA)) {
        return say({ kind: 'pkcs12' });
    }
    const found = fromDer(bytes);
    return say('bits' in found || found.kind === 'damaged' ? { kind: 'der' } : found);
}

function say(found: Verdict): KeyReading {
    if ('bits' in found) {
        return { kind: 'rsa', sentence: `RSA private key of ${String(found.bits)} bits.` };
    }
    return { kind: found.kind, sentence: `This ${keyProblem(found.kind).replace('{kind}', found.other ?? '')}.` };
}

/** Finds the key in a text. */
function find(pasted: string): Found {
    const text = straighten(pasted);
    if (text.startsWith('PuTTY-User-Key-File')) {
        return { kind: 'putty' };
    }
    if (text.startsWith('{')) {
        return { kind: text.includes('"kty"') ? 'jwk' : 'damaged' };
    }
    let problem: Found | undefined;
    for (const block of privateKeyBlocks(text)) {
        const found = readBlock(block);
        if (!('kind' in found)) return found;
        problem ??= found;
    }
    if (problem) {
        return problem;
    }
    if (text.includes('BEGIN ') && (text.includes('PUBLIC KEY') || text.includes('CERTIFICATE'))) {
        return { kind: 'public' };
    }
    // The first line is missing, and perhaps the last one too.
    return decode(text.split('-').find((part) => part.trim() !== '') ?? '');
}

/** The text with line breaks and dashes as PEM has them, whatever a form, a shell or a word processor made of them. */
function straighten(pasted: string): string {
    const text = pasted.replace(/^[\s"'\u0085\uFEFF]+|[\s"'\u0085\uFEFF]+$/g, '');
    const decoded = /%0a/i.test(text) ? percentDecoded(text) : text;
    return decoded
        .replace(/\\r|\\n|&#10;|&#13;|&#xA;|&#xD;|&#xa;|&#xd;/g, '\n')
        .replace(/[\u2010-\u2015\u2212\uFE58\uFE63\uFF0D]/g, '-')
        .replace(/[\u200B-\u200D\u2060\uFEFF\u00AD]/g, '');
}

const percentDecoded = (text: string): string =>
    text.replace(/%([0-9A-Fa-f]{2})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 16)));

interface Block {
    label: string;
    body: string;
}

/** The blocks of private keys in a text, without regard to how many dashes are left of its lines. */
function privateKeyBlocks(text: string): Block[] {
    const blocks: Block[] = [];
    for (const block of text.split('BEGIN ').slice(1)) {
        const at = block.indexOf('PRIVATE KEY');
        const label = block.slice(0, Math.max(at, 0));
        if (at < 0 || !/^[A-Z ]*$/.test(label)) continue;
        const rest = block.slice(at + 'PRIVATE KEY'.length).replace(/^-+/, '');
        // Base64 has neither blanks nor dashes, so that both show where the last line begins.
        const ends = [rest.indexOf('END '), rest.indexOf('--')];
        const end = ends.find((place) => place >= 0) ?? rest.length;
        blocks.push({ label: label.trim(), body: rest.slice(0, end).replace(/-+$/, '') });
    }
    return blocks;
}

function readBlock({ label, body }: Block): Found {
    const other = OTHER_LABELS[label];
    if (other !== undefined) {
        return { kind: 'other_kind', other };
    }
    // Older tools write it into header lines before the base64.
    if (label === 'ENCRYPTED' || body.includes('ENCRYPTED')) {
        return { kind: 'encrypted' };
    }
    return decode(
        body
            .split('\n')
            .filter((line) => !line.includes(':'))
            .join(''),
    );
}

/** Base64 with or without its padding. */
function decode(base64: string): Found {
    const text = base64.replace(/[\s\u0085]/g, '');
    const body = text.replace(/={0,2}$/, '');
    const padding = text.length - body.length;
    if (!/^[A-Za-z0-9+/]*$/.test(body) || body.length % 4 === 1 || padding > (4 - (body.length % 4)) % 4) {
        return { kind: 'damaged' };
    }
    const bytes = Uint8Array.from(atob(body), (character) => character.charCodeAt(0));
    try {
        const inner = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
        if (inner.includes('-----BEGIN')) return { pem: inner };
    } catch {
        // DER is no text.
    }
    return { der: bytes };
}

interface Node {
    tag: number;
    bytes: Uint8Array;
}

const INTEGER = 0x02;
const OCTET_STRING = 0x04;
const SEQUENCE = 0x30;

function fromDer(der: Uint8Array): Verdict {
    return pkcs1(der) ?? pkcs1(insideOfPkcs8(der)) ?? classify(der);
}

/** What a key in DER is that is no RSA private key, by the algorithm that it names. */
function classify(der: Uint8Array): Verdict {
    const start = head(der);
    const other = OTHER_KINDS.find(([number]) => start.includes(number));
    if (other) return { kind: 'other_kind', other: other[1] };
    if (start.includes(PASSWORD_BASED)) return { kind: 'encrypted' };
    // A private key has its version before the algorithm, a public key has nothing there.
    return { kind: start.includes(RSA) && !start.includes(VERSION_0) ? 'public' : 'damaged' };
}

/** PKCS#8 is a version, an algorithm, and the key of that algorithm. */
function insideOfPkcs8(der: Uint8Array): Uint8Array | undefined {
    const [version, algorithm, key] = parts(der) ?? [];
    const isRsa = algorithm?.tag === SEQUENCE && hex(algorithm.bytes).startsWith(RSA);
    return version?.tag === INTEGER && isRsa && key?.tag === OCTET_STRING ? key.bytes : undefined;
}

/** PKCS#1: version, n, e, d, p, q, d mod p-1, d mod q-1, 1/q mod p; all have to fit together. */
function pkcs1(der: Uint8Array | undefined): Verdict | undefined {
    const found = der === undefined ? undefined : parts(der);
    if (found?.length !== 9 || found.some((part) => part.tag !== INTEGER)) {
        return undefined;
    }
    const [version, n = 0n, e = 0n, d = 0n, p = 0n, q = 0n, dp, dq, inverse = 0n] = found.map((part) => number(part.bytes));
    const fits =
        version === 0n &&
        p > 1n &&
        q > 1n &&
        n === p * q &&
        (d * e) % (p - 1n) === 1n &&
        (d * e) % (q - 1n) === 1n &&
        dp === d % (p - 1n) &&
        dq === d % (q - 1n) &&
        (inverse * q) % p === 1n;
    const bits = n.toString(2).length;
    if (bits < MIN_BITS) return { kind: 'too_short' };
    if (bits > MAX_BITS) return { kind: 'too_long' };
    return fits ? { bits } : undefined;
}

/** The elements of the one sequence that DER is. */
function parts(der: Uint8Array): Node[] | undefined {
    const [outer, ...rest] = nodes(der) ?? [];
    return outer?.tag === SEQUENCE && rest.length === 0 ? nodes(outer.bytes) : undefined;
}

/** The elements of DER, or nothing if their lengths do not add up. */
function nodes(bytes: Uint8Array): Node[] | undefined {
    const found: Node[] = [];
    let at = 0;
    while (at < bytes.length) {
        const tag = bytes[at] ?? 0;
        let length = bytes[at + 1] ?? 0;
        at += 2;
        if (length > 0x80) {
            const digits = bytes.slice(at, at + (length & 0x7f));
            length = digits.reduce((sum, digit) => sum * 256 + digit, 0);
            at += digits.length;
        }
        if (at + length > bytes.length) {
            return undefined;
        }
        found.push({ tag, bytes: bytes.slice(at, at + length) });
        at += length;
    }
    return found;
}

const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

const head = (der: Uint8Array): string => hex(der.slice(0, HEAD_BYTES));

const number = (bytes: Uint8Array): bigint => BigInt(`0x${hex(bytes) || '0'}`);
