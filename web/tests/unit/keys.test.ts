import assert from 'node:assert/strict';
import { test } from 'node:test';

import { readKey, readKeyFile } from '../../src/keys';
import { fixture, fixtureBytes } from '../fixtures';

const cases = fixture<{ name: string; text: string; kind: string }[]>('test_only_key_cases.json');

test('the page takes and refuses the keys that the program does, each for what it is', () => {
    const wrong = cases.map((one) => [one.name, one.kind, readKey(one.text).kind]).filter(([, expected, found]) => expected !== found);
    assert.deepEqual(wrong, []);
    assert.ok(cases.length > 60);
});

test('what is said about a key never quotes it', () => {
    for (const one of cases) {
        const pieces = one.text.match(/[A-Za-z0-9+/]{24,}/g) ?? [];
        const { sentence } = readKey(one.text);
        assert.ok(!pieces.some((piece) => sentence.includes(piece)) && !sentence.includes('{kind}'), one.name);
    }
});

test('a key of which one number was changed is refused', () => {
    const whole = cases.find((one) => one.name === 'PKCS#1, without its first and last line')?.text ?? '';
    // Beyond the head of the DER every place belongs to one of the numbers, and all of them have to fit together.
    for (const at of [60, 300, 600, 900, 1100, 1300, 1500]) {
        const other = whole[at] === 'A' ? 'B' : 'A';
        const changed = whole.slice(0, at) + other + whole.slice(at + 1);
        assert.equal(readKey(changed).kind, 'damaged', String(at));
    }
});

test('a file that is no text is named for what it is', () => {
    const kind = (bytes: Uint8Array): string => {
        const read = readKeyFile(bytes);
        return 'text' in read ? 'text' : read.kind;
    };
    const pem = fixtureBytes('test_only_rsa_pkcs1.pem');
    const utf16 = Uint8Array.from([0xff, 0xfe, ...Array.from(pem).flatMap((byte) => [byte, 0])]);
    assert.deepEqual(
        [pem, utf16, fixtureBytes('test_only_rsa.der'), fixtureBytes('test_only_rsa.p12'), Uint8Array.from([0x89, 0x50, 0xff])].map(kind),
        ['text', 'utf16', 'der', 'pkcs12', 'not_text'],
    );
});
