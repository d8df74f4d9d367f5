/**
 * What kind of key a text is, by the rules of the program (`PrivateKey::parse`): a key that it takes is taken here, and
 * one that it refuses is refused here, at once and with more to say. Both are held to
 * `tests/fixtures/test_only_key_cases.json`. The text never leaves this file.
 */

export type KeyKind = 'rsa' | 'encrypted' | 'public' | 'not_rsa' | 'too_short' | 'damaged';

export interface KeyReading {
    kind: KeyKind;
    /** A sentence for the person who pasted it; it never quotes the key. */
    sentence: string;
}

/** What Docusign's signatures and the program's library need. */
const MIN_BITS = 2048;
const MAX_BITS = 8192;

const SENTENCES: Record<Exclude<KeyKind, 'rsa'>, string> = {
    encrypted:
        'This key is encrypted with a passphrase. Decrypt it first, for example with: openssl rsa -in key.pem -out plain.pem',
    public: 'This is a public key or a certificate. Paste the RSA private key, which Docusign shows once, when the key pair is generated.',
    not_rsa: 'This is not an RSA key in PEM form. Generate an RSA key pair on Docusign’s page Apps and Keys.',
    too_short: 'This RSA key is too short. Docusign needs 2048 bits: generate a new RSA key pair on its page Apps and Keys.',
    damaged:
        'This is damaged or not a private key. Paste the whole text, from -----BEGIN RSA PRIVATE KEY----- to -----END RSA PRIVATE KEY-----.',
};

export function readKey(text: string): KeyReading {
    let found = readOnce(text);
    if (typeof found === 'string') {
        // It was base64 of a whole file.
        const inner = readOnce(found);
        found = typeof inner === 'string' ? { kind: 'damaged' } : inner;
    }
    if (found.kind === 'rsa') {
        return { kind: 'rsa', sentence: `RSA private key of ${String(found.bits)} bits.` };
    }
    return { kind: found.kind, sentence: SENTENCES[found.kind] };
}

type Found = { kind: 'rsa'; bits: number } | { kind: Exclude<KeyKind, 'rsa'> };

/** What it is, or the text of a file that it wraps. */
function readOnce(pasted: string): Found | string {
    const text = pasted
        .trim()
        .replace(/^["']+|["']+$/g, '')
        .replaceAll('\\r', '\n')
        .replaceAll('\\n', '\n');
    if (text.includes('ENCRYPTED')) {
        return { kind: 'encrypted' };
    }
    if (text.includes('PUBLIC KEY') || text.includes('BEGIN CERTIFICATE')) {
        return { kind: 'public' };
    }
    if (text.includes('EC PRIVATE KEY') || text.includes('OPENSSH PRIVATE KEY')) {
        return { kind: 'not_rsa' };
    }
    const label = text.indexOf('PRIVATE KEY');
    const body =
        label < 0
            ? text.replace(/^-+|-+$/g, '')
            : (text.slice(label + 'PRIVATE KEY'.length).replace(/^-+/, '').split('-')[0] ?? '');
    const der = decode(body.replace(/[\s\u0085\uFEFF\u200B]/g, ''));
    if (!der) {
        return { kind: 'damaged' };
    }
    const start = String.fromCharCode(...der.slice(0, 10));
    if (start === '-----BEGIN') {
        return new TextDecoder().decode(der);
    }
    return classify(der);
}

/** Base64 with or without its padding. */
function decode(text: string): Uint8Array | null {
    const body = text.replace(/={0,2}$/, '');
    const padding = text.length - body.length;
    if (!/^[A-Za-z0-9+/]*$/.test(body) || body.length % 4 === 1 || padding > (4 - (body.length % 4)) % 4) {
        return null;
    }
    let bytes: Uint8Array;
    try {
        bytes = Uint8Array.from(atob(body), (c) => c.charCodeAt(0));
    } catch {
        return null;
    }
    // The last character must not hold bits that belong to no byte.
    return btoa(String.fromCharCode(...bytes)).replace(/=+$/, '') === body ? bytes : null;
}

interface Node {
    tag: number;
    bytes: Uint8Array;
}

const INTEGER = 0x02;
const BIT_STRING = 0x03;
const OCTET_STRING = 0x04;
const OID = 0x06;
const SEQUENCE = 0x30;

const RSA = '2a864886f70d010101';
const PASSWORD_BASED = '2a864886f70d0105';

function classify(der: Uint8Array): Found {
    const [outer, ...rest] = nodes(der) ?? [];
    const parts = outer?.tag === SEQUENCE && rest.length === 0 ? nodes(outer.bytes) : null;
    const [first, second, third] = parts ?? [];
    if (!parts || !first || !second) {
        return { kind: 'damaged' };
    }
    if (first.tag === SEQUENCE) {
        const algorithm = oid(first);
        if (second.tag === OCTET_STRING && algorithm.startsWith(PASSWORD_BASED)) {
            return { kind: 'encrypted' };
        }
        return { kind: second.tag === BIT_STRING ? 'public' : 'damaged' };
    }
    if (first.tag !== INTEGER) {
        return { kind: 'damaged' };
    }
    if (second.tag === SEQUENCE && third?.tag === OCTET_STRING) {
        return oid(second) === RSA ? classify(third.bytes) : { kind: 'not_rsa' };
    }
    if (second.tag === OCTET_STRING) {
        return { kind: 'not_rsa' };
    }
    if (parts.length === 2 && second.tag === INTEGER) {
        return { kind: 'public' };
    }
    return rsa(parts);
}

/** PKCS#1: version, n, e, d, p, q, d mod p-1, d mod q-1, 1/q mod p; all have to fit together. */
function rsa(parts: Node[]): Found {
    const numbers = parts.filter((part) => part.tag === INTEGER).map((part) => number(part.bytes));
    const [version, n, e, d, p, q, dp, dq, inverse] = numbers;
    if (
        parts.length !== 9 ||
        version !== 0n ||
        n === undefined ||
        e === undefined ||
        d === undefined ||
        p === undefined ||
        q === undefined ||
        dp === undefined ||
        dq === undefined ||
        inverse === undefined
    ) {
        return { kind: 'damaged' };
    }
    const bits = n.toString(2).length;
    const fits =
        p > 1n &&
        q > 1n &&
        n === p * q &&
        (d * e) % (p - 1n) === 1n &&
        (d * e) % (q - 1n) === 1n &&
        dp === d % (p - 1n) &&
        dq === d % (q - 1n) &&
        (inverse * q) % p === 1n;
    if (!fits || bits > MAX_BITS) {
        return { kind: 'damaged' };
    }
    return bits < MIN_BITS ? { kind: 'too_short' } : { kind: 'rsa', bits };
}

/** The elements of DER, or nothing if their lengths do not add up. */
function nodes(bytes: Uint8Array): Node[] | null {
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
            return null;
        }
        found.push({ tag, bytes: bytes.slice(at, at + length) });
        at += length;
    }
    return found;
}

function oid(sequence: Node): string {
    const first = nodes(sequence.bytes)?.[0];
    return first?.tag === OID ? hex(first.bytes) : '';
}

const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

const number = (bytes: Uint8Array): bigint => BigInt(`0x${hex(bytes) || '0'}`);
