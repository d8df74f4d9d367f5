import assert from 'node:assert/strict';
import { test } from 'node:test';

import { readKey } from '../../src/keys';
import { fixture } from '../fixtures';

interface Case {
    name: string;
    text: string;
    kind: string;
    binary: string | null;
}

const cases = fixture<Case[]>('test_only_key_cases.json');

test('the page takes and refuses the keys that the program does, each for what it is', () => {
    const wrong = cases.filter((one) => readKey(one.text).kind !== one.kind).map((one) => [one.name, one.kind, readKey(one.text).kind]);
    assert.deepEqual(wrong, []);
    for (const one of cases) {
        assert.equal(readKey(one.text).kind === 'rsa', one.binary === null, one.name);
    }
    assert.ok(cases.length > 40);
});

test('what is said about a key never quotes it', () => {
    for (const one of cases) {
        const pieces = one.text.match(/[A-Za-z0-9+/]{24,}/g) ?? [];
        const { sentence } = readKey(one.text);
        assert.ok(!pieces.some((piece) => sentence.includes(piece)), one.name);
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
