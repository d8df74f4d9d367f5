import assert from 'node:assert/strict';
import { test } from 'node:test';

import { problemOf } from '../../src/checks';
import { fileStem, sentenceOf } from '../../src/inputs';
import { duration, parseLine } from '../../src/logs';
import { fixture } from '../fixtures';

test('secrets are stored where the program looks for them', () => {
    for (const { input, stem } of fixture<{ input: string; stem: string }[]>('file_stems.json')) {
        assert.equal(fileStem(input), stem);
    }
});

test('the sentence of the program stands alone', () => {
    const sentence = 'Consent is missing: user_id x.';
    for (const before of ['', 'Encountered the following error while trying to save: ', 'Argument validation for scheme=ds_monitor: ']) {
        assert.equal(sentenceOf(new Error(before + sentence)), sentence);
    }
});

test('a value is found wrong while it is typed', () => {
    const guid = '1B2C3D4E-0000-4abc-8def-0123456789ab';
    const right: [string, string][] = [
        ['integration_key', guid],
        ['user_id', ` ${guid} `],
        ['organization_id', ''],
        ['limit', '2000'],
        ['interval', '60'],
        ['interval', '17 4 * * *'],
        ['start_from', 'earliest'],
        ['start_from', '2026-01-31'],
        ['start_from', '2026-01-31T08:30:00Z'],
        ['start_from', 'aa_637218935854425652_637218935412032088_12'],
        ['name', 'eu-production_1'],
    ];
    const wrong: [string, string][] = [
        ['integration_key', 'secret'],
        ['user_id', 'user@example.com'],
        ['organization_id', guid.slice(1)],
        ['limit', '0'],
        ['limit', '2001'],
        ['limit', '1.5'],
        ['interval', '5'],
        ['interval', 'often'],
        ['start_from', 'yesterday'],
        ['start_from', '2026-02-30'],
        ['start_from', '9999-01-01'],
        ['start_from', '31.01.2026'],
        ['name', '../x'],
        ['name', 'a b'],
    ];
    for (const [name, value] of right) assert.equal(problemOf(name, value), undefined, `${name}=${value}`);
    for (const [name, value] of wrong) assert.ok(problemOf(name, value), `${name}=${value}`);
});

test('a line of the log is taken apart as it was put together', () => {
    const { fields, sentence } = parseLine(
        'ERROR input=ds_monitor://prod action=authenticate note="a \\"b\\" \\\\ c" status=400 Consent is missing: scope=impersonation.',
    );
    assert.deepEqual(Object.fromEntries(fields), { input: 'ds_monitor://prod', action: 'authenticate', note: 'a "b" \\ c', status: '400' });
    assert.equal(sentence, 'Consent is missing: scope=impersonation.');
});

test('a duration is said in its largest unit', () => {
    assert.deepEqual([0, 1, 59, 61, 7300, 200_000].map((seconds) => duration(seconds)), [
        '0 seconds',
        '1 second',
        '59 seconds',
        '1 minute',
        '2 hours',
        '2 days',
    ]);
});
