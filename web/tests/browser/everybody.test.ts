import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Browser } from 'playwright-core';

import { PATIENCE, stage, type StandIn, Visit } from './stand-in';

let browser: Browser;
let standIn: StandIn;
stage((aBrowser, aStandIn) => {
    browser = aBrowser;
    standIn = aStandIn;
    return undefined;
});

test('who may not see inputs gets the checklist, and is told which capability is missing', async () => {
    await standIn.script('capabilities', { names: 'search' });
    const visit = await Visit.open(browser, standIn);
    visit.expect(/403/);
    const { page } = visit;
    const inputs = page.getByTestId('checklist').getByRole('row').filter({ hasText: 'Inputs on this instance' });
    await inputs.getByText('list_inputs').first().waitFor();
    for (const capability of ['list_inputs', 'admin_all_objects', 'edit_storage_passwords', 'schedule_search']) {
        await page.getByTestId('missing-capabilities').getByText(capability, { exact: true }).waitFor();
    }
    assert.equal(await page.getByTestId('checklist').locator('tbody tr').count(), 8);
    await visit.close();
});

test('who may not write secure storage is told so, and no stanza is written', async () => {
    await standIn.script('capabilities', { names: 'search list_inputs list_storage_passwords' });
    const visit = await Visit.open(browser, standIn);
    visit.expect(/403/);
    await visit.tab('First steps');
    await visit.fillIn();
    await visit.save();
    assert.match(await visit.problem(), /requires capability: edit_storage_passwords/);
    assert.deepEqual((await standIn.record()).stanzas, []);
    await visit.close();
});

test('on a search head without inputs the checklist says where events come from', async () => {
    const visit = await Visit.open(browser, standIn);
    await visit.tab('Checklist');
    const row = (title: string) => visit.page.getByTestId('checklist').getByRole('row').filter({ hasText: title });
    await row('Inputs on this instance').getByText('None.').waitFor();
    await row('Macro ds_monitor_index').getByText('To do').waitFor();
    await row('Inputs on this instance').getByRole('button', { name: 'Go to First steps' }).click();
    await visit.page.getByText('What you need from Docusign').waitFor();
    await visit.close();
});

test('where splunkd refuses one answer, the checklist has the others', async () => {
    await standIn.script('refuse', { part: 'saved/searches', status: '500', text: 'out of order' });
    const visit = await Visit.open(browser, standIn);
    visit.expect(/500/);
    await visit.tab('Checklist');
    await visit.page.getByText('out of order').first().waitFor();
    await visit.page.getByText('Searches look into every index').waitFor();
    await visit.close();
});

for (const theme of ['light', 'dark']) {
    test(`everybody can use the page, in ${theme} and at any width`, async () => {
        const visit = await Visit.open(browser, standIn, { theme });
        const { page } = visit;
        const look = async (where: string): Promise<void> => {
            assert.deepEqual(await visit.findings(), [], where);
            for (const width of [1024, 2560]) {
                await page.setViewportSize({ width, height: 900 });
                const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
                assert.ok(overflow <= 0, `${where} is ${String(overflow)} too wide at ${String(width)}`);
            }
        };
        const background = await page.locator('#ds-monitor-set-up > div').evaluate((node) => getComputedStyle(node).backgroundColor);
        const brightness = (background.match(/\d+/g) ?? []).slice(0, 3).reduce((sum, part) => sum + Number(part), 0);
        assert.equal(brightness < 384, theme === 'dark', background);
        await look('What you need');
        await visit.next();
        await page.getByLabel('User ID').fill('somebody');
        await look('Docusign app');
        await page.reload();
        await visit.fillIn();
        await look('Save and test');
        await visit.save();
        await visit.saved();
        await look('The first events');
        await visit.next();
        await page.getByText(/Detections \(0 of/).waitFor();
        await look('Names and alerts');
        await visit.tab('Inputs');
        await page.getByTestId('input-docusign').getByText('Running').waitFor({ timeout: PATIENCE });
        await look('Inputs');
        await visit.act('docusign', 'Edit');
        await visit.button('Save and test').waitFor();
        await look('Edit');
        await visit.button('Cancel').click();
        await visit.act('docusign', 'Rotate the key');
        await page.getByRole('dialog').waitFor();
        await look('Rotate the key');
        await page.keyboard.press('Escape');
        await visit.tab('Checklist');
        await page.getByTestId('checklist').waitFor();
        await look('Checklist');
        await visit.close();
    });
}

test('the way to the first events needs no mouse', async () => {
    const visit = await Visit.open(browser, standIn);
    const { page } = visit;
    const reach = async (name: string): Promise<void> => {
        for (let presses = 0; presses < 60; presses += 1) {
            await page.keyboard.press('Tab');
            const focused = await page.evaluate(() => document.activeElement?.textContent?.trim() ?? '');
            if (focused === name) return;
        }
        assert.fail(`${name} cannot be reached with the keyboard`);
    };
    await reach('Next');
    await page.keyboard.press('Enter');
    await page.getByLabel('Integration key').waitFor();
    // The focus is at the top of the new screen, so that one press leads to its first field.
    await page.keyboard.press('Tab');
    const label = await page.evaluate(() => (document.activeElement as HTMLInputElement | null)?.name);
    assert.equal(label, 'integration_key');
    await visit.close();
});
