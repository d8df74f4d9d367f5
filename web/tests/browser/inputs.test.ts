import assert from 'node:assert/strict';
import { test } from 'node:test';

import { KEY, KEY_PKCS8, MASK, OTHER_KEY, PATIENCE, stage, type StandIn, Visit } from './stand-in';

let standIn: StandIn;
let visit: Visit;
stage(async (browser, aStandIn) => {
    standIn = aStandIn;
    visit = await Visit.open(browser, standIn);
    await visit.fillIn({ name: 'eu', index: 'docusign' });
    await visit.save();
    await visit.saved();
    await visit.tab('Inputs');
    await visit.page.getByTestId('input-eu').waitFor();
    return visit;
});

const storedKey = async (user: RegExp): Promise<string | undefined> => {
    const { secrets } = await standIn.record();
    const entry = secrets.find(([, name]) => user.test(name));
    return entry === undefined ? undefined : (JSON.parse(entry[2]) as Record<string, string>)['private_key'];
};

test('the table says how an input fares', async () => {
    const row = visit.page.getByTestId('input-eu');
    for (const text of ['production', 'docusign', 'Running', 'stand-in']) {
        await row.getByText(text, { exact: true }).waitFor({ timeout: PATIENCE });
    }
    await visit.page.getByText('aa_638553500560000000_').waitFor();
});

test('an edit changes what was edited and nothing else', async () => {
    const { page } = visit;
    const before = await standIn.input('eu');
    await visit.act('eu', 'Edit');
    await page.getByLabel('Interval').fill('300');
    await visit.save();
    await page.getByTestId('input-eu').waitFor({ timeout: PATIENCE });
    const now = await standIn.input('eu');
    const changed = Object.keys({ ...before, ...now }).filter((key) => (before?.[key] ?? '') !== (now?.[key] ?? ''));
    assert.deepEqual(changed, ['interval']);
    assert.equal(await storedKey(/^eu-/), KEY);
    const { requests } = await standIn.record();
    const writes = requests.filter((request) => request.method === 'POST' && request.path.includes('storage/passwords'));
    assert.equal(writes.length, 1, 'secure storage is left alone');
});

test('a refused key does not take the place of the one that works, and a good one does', async () => {
    visit.expect(/400/);
    const { page } = visit;
    await visit.act('eu', 'Rotate the key');
    await page.getByLabel('RSA private key').fill(OTHER_KEY);
    await visit.save();
    assert.match(await visit.problem(), /private key does not belong to/i);
    assert.equal(await storedKey(/^eu-/), KEY);
    await visit.button('Enter another key').click();
    await page.getByLabel('RSA private key').fill(KEY_PKCS8);
    await visit.save();
    await page.getByRole('dialog').waitFor({ state: 'detached', timeout: PATIENCE });
    assert.equal(await storedKey(/^eu-/), KEY_PKCS8);
    assert.equal((await standIn.input('eu'))?.['private_key'], MASK);
});

test('a clone has a name and a stored key of its own', async () => {
    const { page } = visit;
    await visit.act('eu', 'Clone');
    await page.getByLabel('Name').fill('us');
    await visit.save();
    await page.getByTestId('input-us').waitFor({ timeout: PATIENCE });
    const [eu, us] = [await standIn.input('eu'), await standIn.input('us')];
    assert.deepEqual([us?.['private_key'], us?.['index'], us?.['user_id']], [MASK, eu?.['index'], eu?.['user_id']]);
    assert.deepEqual([await storedKey(/^eu-/), await storedKey(/^us-/)], [KEY, KEY]);
});

test('an input is disabled and enabled', async () => {
    const row = visit.page.getByTestId('input-eu');
    await visit.act('eu', 'Disable');
    await row.getByText('Disabled').waitFor();
    assert.equal((await standIn.input('eu'))?.['disabled'], '1');
    await visit.act('eu', 'Enable');
    await row.getByText('Running').waitFor();
    assert.equal((await standIn.input('eu'))?.['disabled'], '0');
});

test('an input is deleted with its key, after it was asked', async () => {
    const { page } = visit;
    await visit.act('eu', 'Delete');
    const dialog = page.getByRole('dialog');
    await dialog.getByText('deleted from secure storage too').waitFor();
    await dialog.getByRole('button', { name: 'Cancel' }).click();
    await dialog.waitFor({ state: 'detached' });
    assert.ok(await standIn.input('eu'));
    await visit.act('eu', 'Delete');
    await dialog.getByRole('button', { name: 'Delete' }).click();
    await page.getByTestId('input-eu').waitFor({ state: 'detached' });
    const { inputs, secrets } = await standIn.record();
    assert.deepEqual([inputs, secrets], [[], []]);
});

test('a stored token does not go to another address unseen', async () => {
    const { page } = visit;
    const stored = async (): Promise<string[]> =>
        (await standIn.record()).secrets.flatMap(([, , secret]) => Object.keys(JSON.parse(secret) as object)).sort();
    const url = page.getByLabel('HTTP Event Collector', { exact: true });
    await visit.act('eu', 'Edit');
    // Nobody listens there. An edit with a known key is saved all the same, as after any outage.
    await url.fill('https://127.0.0.1:1');
    await page.getByLabel('HTTP Event Collector token').fill('s3cret-token');
    await visit.save();
    await page.getByTestId('input-eu').waitFor({ timeout: PATIENCE });
    assert.deepEqual(await stored(), ['hec_token', 'hec_url', 'private_key']);
    assert.equal((await standIn.input('eu'))?.['hec_token'], MASK);

    await visit.act('eu', 'Edit');
    await url.fill('https://127.0.0.1:2');
    await page.getByText('enter it again').waitFor();
    assert.ok(await visit.button('Save and test').isDisabled());
    await page.getByLabel('HTTP Event Collector token').fill('s3cret-token');
    await visit.save();
    await page.getByTestId('input-eu').waitFor({ timeout: PATIENCE });
    assert.equal((await standIn.input('eu'))?.['hec_url'], 'https://127.0.0.1:2');

    await visit.act('eu', 'Edit');
    // Without an address there is nothing that the token is for.
    await url.fill('');
    await visit.save();
    await page.getByTestId('input-eu').waitFor({ timeout: PATIENCE });
    assert.deepEqual(await stored(), ['private_key']);
    assert.equal((await standIn.input('eu'))?.['hec_token'], '');
});

test('a lookups input is added, changed and deleted', async () => {
    const { page } = visit;
    await visit.button('Add a lookups input').click();
    await page.getByLabel('Name').fill('names');
    await page.getByRole('combobox', { name: 'Monitor input' }).or(page.getByRole('button', { name: /Monitor input/ })).first().click();
    await page.getByRole('option', { name: 'eu' }).click();
    await visit.button('Save').click();
    await page.getByTestId('input-names').getByText('Running').waitFor({ timeout: PATIENCE });
    await visit.act('names', 'Edit');
    await page.getByLabel('Interval').fill('3600');
    await visit.button('Save').click();
    await page.getByTestId('input-names').waitFor();
    assert.equal((await standIn.input('names', 'ds_lookups'))?.['interval'], '3600');
    await visit.act('names', 'Delete');
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
    await page.getByTestId('input-names').waitFor({ state: 'detached' });
});

test('the last error stands in the table with its remedy', async () => {
    const { page } = visit;
    await standIn.script('consented', { scopes: '' });
    // A change of the stanza starts a run at once; it is the program’s log that the table shows.
    await visit.act('eu', 'Disable');
    await page.getByTestId('input-eu').getByText('Disabled').waitFor();
    await visit.act('eu', 'Enable');
    await page.getByTestId('last-error').getByText(/consent/i).waitFor({ timeout: PATIENCE });
});
