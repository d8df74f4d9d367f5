/** The pictures of the documentation: `npm run pictures` draws them anew into docs/pictures. */
import { mkdirSync } from 'node:fs';

import { selectors } from 'playwright-core';

import { root } from './fixtures';
import { INTEGRATION_KEY, KEY, launch, PATIENCE, StandIn, USER_ID, Visit } from './browser/stand-in';

async function main(): Promise<void> {
    selectors.setTestIdAttribute('data-test');
    mkdirSync(root('docs/pictures'), { recursive: true });
    const browser = await launch();
    for (const theme of ['light', 'dark']) {
        const standIn = await StandIn.start();
        const visit = await Visit.open(browser, standIn, { theme, width: 1280, height: 860 });
        const { page } = visit;
        const draw = async (name: string): Promise<void> => {
            // The frame around the page is the stand-in's own, and moving parts come to rest.
            await page.mouse.move(0, 0);
            await page.waitForTimeout(600);
            await page.locator('#ds-monitor-set-up > div').screenshot({ path: root(`docs/pictures/set_up_${name}_${theme}.png`), animations: 'disabled' });
        };
        await draw('1_what_you_need');
        await visit.next();
        await page.getByLabel('Integration key').fill(INTEGRATION_KEY);
        await page.getByLabel('User ID').fill(USER_ID);
        await draw('2_docusign_app');
        await visit.next();
        await page.getByLabel('RSA private key').fill(KEY);
        await draw('3_key');
        await visit.next();
        await page.getByLabel('Index', { exact: true }).fill('docusign');
        await page.keyboard.press('Escape');
        await draw('4_what_to_collect');
        await visit.next();
        await standIn.script('consented', { scopes: '' });
        await visit.save();
        await visit.problem();
        await draw('5_consent_is_missing');
        await standIn.script('consented', { scopes: 'impersonation signature organization_read user_read permission_read group_read' });
        await visit.save();
        await visit.saved();
        await draw('5_first_events');
        await visit.next();
        await page.getByRole('switch', { name: /Fill the lookups/ }).click();
        await visit.button('Save the macro').click();
        await visit.button('Switch all health alerts on').click();
        await page.getByText(/Health alerts \((\d+) of \1 on\)/).waitFor({ timeout: PATIENCE });
        await draw('6_names_and_alerts');
        await visit.tab('Inputs');
        await page.getByTestId('table-ds_lookups').getByText('Running').waitFor({ timeout: PATIENCE });
        await draw('inputs');
        await visit.tab('Checklist');
        await page.getByText(/ds_profiles has/).waitFor({ timeout: PATIENCE });
        await draw('checklist');
        await page.context().close();
        standIn.stop();
    }
    await browser.close();
}

void main();
