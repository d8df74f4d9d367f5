import assert from 'node:assert/strict';
import { test } from 'node:test';

import { fixture } from '../fixtures';
import { INTEGRATION_KEY, KEY, KEY_PATH, MASK, OTHER_KEY, PATIENCE, stage, type StandIn, USER_ID, Visit } from './stand-in';

let standIn: StandIn;
let visit: Visit;
stage(async (browser, aStandIn) => {
    standIn = aStandIn;
    visit = await Visit.open(browser, standIn);
    return visit;
});

test('from nothing to the first events', async () => {
    const { page } = visit;
    await standIn.script('consented', { scopes: '' });
    await visit.next();
    await page.getByLabel('Integration key').fill(INTEGRATION_KEY);
    await page.getByLabel('User ID').fill(USER_ID);
    const consent = await page.getByLabel('Consent address').textContent();
    assert.match(consent ?? '', new RegExp(`/oauth/auth\\?response_type=code&scope=impersonation%20signature.*&client_id=${INTEGRATION_KEY}&redirect_uri=https://localhost/ds_monitor$`));
    const [docusign] = await Promise.all([page.context().waitForEvent('page'), page.getByRole('link', { name: 'Open' }).click()]);
    await docusign.getByText('has noted the consent').waitFor();
    await docusign.close();
    await visit.next();
    await page.getByLabel('RSA private key').fill(KEY.replaceAll('\n', ' '));
    await page.getByText('RSA private key of 2048 bits.').waitFor();
    await visit.next();
    await page.getByLabel('Index', { exact: true }).fill('docusign');
    await page.keyboard.press('Escape');
    await page.getByText('Everything that Docusign has').click();
    await visit.next();
    await visit.save();
    await visit.saved();
    assert.equal(await page.getByTestId('first-events').locator('tbody tr').count(), 10);

    const record = await standIn.record();
    const stanza = record.inputs[0];
    assert.equal(stanza?.name, 'docusign');
    assert.equal(stanza.params['private_key'], MASK);
    assert.equal(stanza.params['index'], 'docusign');
    assert.equal(stanza.params['start_from'], 'earliest');
    const [realm, user, secret] = record.secrets[0] ?? [];
    assert.deepEqual([realm, user], ['ds_monitor', 'docusign-ddee2b3e']);
    assert.deepEqual(Object.keys(JSON.parse(secret ?? '') as object), ['private_key']);
    const writes = record.requests.filter((request) => request.method === 'POST' && !request.path.endsWith('search/jobs'));
    assert.deepEqual(
        writes.map((request) => request.path.replace('servicesNS/nobody/ds_monitor/', '')),
        ['storage/passwords', 'data/inputs/ds_monitor'],
        'the secret goes first',
    );
    // The key is gone from the page, whichever way somebody looks for it.
    assert.ok(!(await page.content()).includes('PRIVATE KEY-----'));
});

test('a key is named for what it is, at once, and only a sound one lets anybody go on', async () => {
    const { page } = visit;
    await visit.next();
    await page.getByLabel('Integration key').fill(INTEGRATION_KEY);
    await page.getByLabel('User ID').fill(USER_ID);
    await visit.next();
    const words: Record<string, RegExp> = {
        encrypted: /is encrypted with a passphrase/,
        public: /is a public key or a certificate/,
        other_kind: /is an? .*, not an RSA key/,
        too_short: /which is too short/,
        damaged: /is damaged or not an RSA private key/,
    };
    for (const one of fixture<{ text: string; kind: string }[]>('test_only_key_cases.json')) {
        const expected = words[one.kind];
        if (expected === undefined || one.text === '') continue;
        await page.getByLabel('RSA private key').fill(one.text);
        await page.getByText(expected).waitFor();
        assert.ok(await visit.button('Next').isDisabled());
    }
    await page.getByLabel('File with the private key').setInputFiles(KEY_PATH);
    await page.getByText('RSA private key of 2048 bits.').waitFor();
    assert.ok(await visit.button('Next').isEnabled());
});

test('without consent nothing is kept, and after it saving goes on with what was entered', async () => {
    visit.expect(/400/);
    await standIn.script('consented', { scopes: '' });
    await visit.fillIn();
    await visit.save();
    const sentence = await visit.problem();
    assert.match(sentence, /consent.*3f9d1c52-.*http:\/\/127\.0\.0\.1:\d+\/oauth\/auth\?/i);
    const record = await standIn.record();
    assert.deepEqual([record.inputs, record.secrets, record.stanzas], [[], [], []]);
    await standIn.script('consented', { scopes: 'impersonation' });
    await visit.save();
    await visit.saved();
});

test('a secret that could not be taken back is told, and the next save takes its place', async () => {
    visit.expect(/400|409|500/);
    await standIn.script('consented', { scopes: '' });
    await standIn.script('refuse', { part: 'DELETE servicesNS/nobody/ds_monitor/storage', status: '500', text: 'out of order' });
    await visit.fillIn();
    await visit.save();
    await visit.page.getByText(/consent.*The new secret is still in secure storage \(out of order\)\./i).waitFor({ timeout: PATIENCE });
    await standIn.script('accept');
    await standIn.script('consented', { scopes: 'impersonation' });
    await visit.save();
    await visit.saved();
    assert.equal((await standIn.record()).secrets.length, 1);
});

test('a key that is not the app’s is refused by Docusign', async () => {
    visit.expect(/400/);
    await visit.fillIn({ key: OTHER_KEY });
    await visit.save();
    assert.match(await visit.problem(), /private key does not belong to .*7c2b8a10-/i);
    assert.deepEqual((await standIn.record()).secrets, []);
    await visit.button('Go to Key').click();
    await visit.page.getByText('RSA private key of 2048 bits.').waitFor();
});

test('a user that Docusign does not know is refused', async () => {
    visit.expect(/400/);
    await visit.fillIn({ user: '00000000-0000-4000-8000-000000000000' });
    await visit.save();
    assert.match(await visit.problem(), /does not know .*00000000-/);
});

test('a refused stream is explained, and what Docusign writes is text', async () => {
    visit.expect(/400/);
    await standIn.script('next-stream', { status: '403', body: JSON.stringify({ error: '<img src=x onerror=alert(1)>' }) });
    await visit.fillIn();
    await visit.save();
    assert.match(await visit.problem(), /403.*<img src:x/);
    assert.equal(await visit.page.locator('#ds-monitor-set-up img').count(), 0);
});

test('a Docusign out of reach is told, and nothing is kept', async () => {
    visit.expect(/400/);
    await standIn.script('docusign-at', { url: 'http://127.0.0.1:1' });
    await visit.page.reload();
    await visit.fillIn();
    await visit.save();
    assert.match(await visit.problem(), /127\.0\.0\.1/);
    const record = await standIn.record();
    assert.deepEqual([record.inputs, record.secrets], [[], []]);
});

test('a key in a file on the server needs no secure storage', async () => {
    const { page } = visit;
    await visit.next();
    await page.getByLabel('Integration key').fill(INTEGRATION_KEY);
    await page.getByLabel('User ID').fill(USER_ID);
    await visit.next();
    await page.getByText('In a file on the Splunk server').click();
    await page.getByLabel('Private key file').fill(KEY_PATH);
    await visit.next();
    await visit.next();
    await visit.save();
    await visit.saved();
    const { inputs, secrets } = await standIn.record();
    assert.deepEqual([inputs[0]?.params['private_key_path'], inputs[0]?.params['private_key'], secrets], [KEY_PATH, undefined, []]);
});

test('a session that has ended costs nothing that was entered', async () => {
    visit.expect(/401/);
    const { page } = visit;
    await visit.fillIn();
    await standIn.script('log-out');
    await visit.save();
    await page.getByTestId('session-ended').waitFor();
    const [other] = await Promise.all([page.context().waitForEvent('page'), page.getByRole('link', { name: /log in/ }).click()]);
    await other.waitForLoadState();
    await other.close();
    await visit.button('I have logged in').click();
    await page.getByTestId('session-ended').waitFor({ state: 'detached' });
    await visit.save();
    await visit.saved();
});

test('a name that is taken is said to be', async () => {
    await visit.fillIn();
    await visit.save();
    await visit.saved();
    const before = await standIn.record();
    await visit.page.reload();
    await visit.tab('First steps');
    await visit.fillIn();
    await visit.save();
    assert.match(await visit.problem(), /already exists/);
    assert.deepEqual((await standIn.record()).secrets, before.secrets);
});

test('names and alerts are switched on at the end, with one recipient for all', async () => {
    const { page } = visit;
    await visit.fillIn({ index: 'docusign' });
    await visit.save();
    await visit.saved();
    await visit.next();
    await visit.button('Save the macro').click();
    await page.getByText('Now: index=docusign').waitFor();
    await page.getByRole('switch', { name: /Fill the lookups once a day/ }).click();
    await page.getByLabel('Send results to').fill('soc@example.com');
    await visit.button('Switch all health alerts on').click();
    await page.getByText(/Health alerts \((\d+) of \1 on\)/).waitFor({ timeout: PATIENCE });
    await page.getByRole('switch', { name: 'Impossible travel' }).click();
    await page.getByText(/Detections \(1 of \d+ on\)/).waitFor({ timeout: PATIENCE });

    const { macros, searches, inputs } = await standIn.record();
    assert.equal(macros['ds_monitor_index']?.['definition'], 'index=docusign');
    const lookups = inputs.find((input) => input.kind === 'ds_lookups');
    assert.deepEqual([lookups?.params['monitor_input'], lookups?.params['output']], ['docusign', 'csv']);
    for (const name of ['Docusign Monitor - Silent feed', 'Docusign Detection - Impossible travel']) {
        const search = searches[name];
        assert.deepEqual(
            [search?.['disabled'], search?.['actions'], search?.['action.email'], search?.['action.email.to']],
            ['0', 'email', '1', 'soc@example.com'],
        );
    }
    assert.equal(searches['Docusign Detection - Mass download']?.['disabled'], '1');
    await visit.tab('Checklist');
    await page.getByText(/ds_users has \d+ rows/).waitFor({ timeout: PATIENCE });
});
