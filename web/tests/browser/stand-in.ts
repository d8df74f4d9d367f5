/** A stand-in Splunk Web with the real programs behind it, a browser in front of it, and what must hold after any test. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { after, afterEach, before, beforeEach } from 'node:test';

import axe from 'axe-core';
import { type Browser, chromium, type Locator, type Page, selectors } from 'playwright-core';

import { fixtureText, root } from '../fixtures';

export const INTEGRATION_KEY = '7c2b8a10-5d3e-4f61-9a07-1e0f5b6c7d80';
export const USER_ID = '3f9d1c52-8b47-4e0a-a6c3-90d2e4f7b815';
export const KEY = fixtureText('test_only_rsa_pkcs1.pem');
export const KEY_PKCS8 = fixtureText('test_only_rsa_pkcs8.pem');
export const OTHER_KEY = fixtureText('test_only_other_rsa_pkcs1.pem');
export const KEY_PATH = root('tests/fixtures/test_only_rsa_pkcs1.pem');
export const MASK = '******';

/** Saving is tested by the program against Docusign, on a machine that may be busy. */
export const PATIENCE = 30_000;

/** Without these Chromium asks its maker's servers at every start. */
const FLAGS = [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
];

export const launch = (): Promise<Browser> =>
    chromium.launch({ executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium', args: FLAGS });

export interface Recorded {
    method: string;
    target: string;
    path: string;
    form: Record<string, string>;
}

export interface Record_ {
    requests: Recorded[];
    /** Every form in which a stanza has ever been saved. */
    stanzas: { kind: string; name: string; params: Record<string, string> }[];
    inputs: { kind: string; name: string; app: string; params: Record<string, string> }[];
    /** Realm, user name, secret. */
    secrets: [string, string, string][];
    /** Every text with which a request was refused. */
    refusals: string[];
    macros: Record<string, Record<string, string>>;
    searches: Record<string, Record<string, string>>;
    events: number;
}

export class StandIn {
    private constructor(
        private readonly process: ChildProcess,
        readonly address: string,
    ) {}

    static async start(): Promise<StandIn> {
        // Built before by cargo; the stand-in builds the programs themselves if need be.
        const program = process.env['DEMO'] ?? root('target/debug/examples/demo');
        const child = spawn(program, ['--serve', '0'], { cwd: root(), stdio: ['ignore', 'pipe', 'inherit'] });
        const lines = createInterface({ input: child.stdout });
        for await (const line of lines) {
            const address = /^The page Set up:\s+(\S+)/.exec(line)?.[1];
            if (address !== undefined) {
                // What the inputs bring is written there too, and must not fill the pipe.
                child.stdout.resume();
                const standIn = new StandIn(child, address);
                await standIn.script('consented', { scopes: 'impersonation signature organization_read user_read permission_read group_read' });
                return standIn;
            }
        }
        throw new Error(`${program} --serve ended without an address; build it with: cargo build --example demo`);
    }

    stop(): void {
        this.process.kill();
    }

    private async say(word: string, form: Record<string, string>): Promise<unknown> {
        const address = new URL(`/stand-in/${word}`, this.address);
        const answer = await fetch(address, { method: 'POST', body: new URLSearchParams(form).toString() });
        assert.equal(answer.status, 200, word);
        return answer.json();
    }

    script(word: string, form: Record<string, string> = {}): Promise<unknown> {
        return this.say(word, form);
    }

    async record(): Promise<Record_> {
        return (await this.say('record', {})) as Record_;
    }

    async input(name: string, kind = 'ds_monitor'): Promise<Record<string, string> | undefined> {
        return (await this.record()).inputs.find((input) => input.kind === kind && input.name === name)?.params;
    }
}

/** Long pieces of a key, as they would stand in any of its forms. */
function pieces(key: string): string[] {
    return key.split('\n').filter((line) => /^[A-Za-z0-9+/=]{40,}$/.test(line));
}

const SECRETS = [...pieces(KEY), ...pieces(KEY_PKCS8), ...pieces(OTHER_KEY), 's3cret-token', 's3cret-password'];

/** A page of a new browser profile, and everything it has asked for and complained of. */
export class Visit {
    readonly complaints: string[] = [];
    readonly asked: { method: string; url: string; body: string }[] = [];
    private expected: RegExp[] = [];

    private constructor(
        readonly page: Page,
        private readonly standIn: StandIn,
    ) {}

    static async open(browser: Browser, standIn: StandIn, options: { width?: number; height?: number; theme?: string } = {}): Promise<Visit> {
        if (options.theme !== undefined) await standIn.script('theme', { theme: options.theme });
        const context = await browser.newContext({ viewport: { width: options.width ?? 1280, height: options.height ?? 900 } });
        const page = await context.newPage();
        const visit = new Visit(page, standIn);
        page.on('pageerror', (error) => visit.complaints.push(error.message));
        page.on('console', (message) => {
            if (['error', 'warning'].includes(message.type())) visit.complaints.push(message.text());
        });
        page.on('request', (request) => {
            visit.asked.push({ method: request.method(), url: request.url(), body: request.postData() ?? '' });
        });
        await page.goto(standIn.address);
        await page.getByRole('tab').first().waitFor();
        return visit;
    }

    /** A refusal is told by the browser too. */
    expect(complaint: RegExp): void {
        this.expected.push(complaint);
    }

    /** What must hold after any test, then the end of the visit. */
    async close(): Promise<void> {
        const { page, standIn } = this;
        const left = this.complaints.filter((text) => !this.expected.some((one) => one.test(text)));
        assert.deepEqual(left, [], 'the browser complains of nothing');
        const origin = new URL(standIn.address).origin;
        const foreign = this.asked.filter(({ url }) => !url.startsWith(origin) && !url.startsWith('data:'));
        assert.deepEqual(foreign, [], 'nothing is asked for elsewhere');
        for (const { method, url, body } of this.asked) {
            const isStorage = method === 'POST' && url.includes('/storage/passwords');
            const text = decodeURIComponent(url) + (isStorage ? '' : decodeURIComponent(body.replaceAll('+', ' ')) + body);
            assert.ok(!SECRETS.some((secret) => text.includes(secret)), `a secret is in ${method} ${url.slice(0, 200)}`);
        }
        // eslint-disable-next-line no-restricted-globals -- the page must not, and here it is seen that it does not
        const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href]));
        assert.ok(!SECRETS.some((secret) => kept.includes(secret)), 'a secret is kept by the browser');
        const { stanzas } = await standIn.record();
        for (const stanza of stanzas) {
            const text = JSON.stringify(stanza);
            assert.ok(!SECRETS.some((secret) => text.includes(secret)) && !text.includes('BEGIN'), `a secret is in ${stanza.name}`);
        }
        await page.context().close();
    }

    tab(name: string): Promise<void> {
        return this.page.getByRole('tab', { name }).click();
    }

    button(name: string | RegExp): Locator {
        return this.page.getByRole('button', { name, exact: typeof name === 'string' });
    }

    async next(): Promise<void> {
        await this.button('Next').click();
    }

    /** Steps 1 to 4 of First steps. */
    async fillIn(given: { key?: string; user?: string; name?: string; index?: string } = {}): Promise<void> {
        const { page } = this;
        await this.next();
        await page.getByLabel('Integration key').fill(INTEGRATION_KEY);
        await page.getByLabel('User ID').fill(given.user ?? USER_ID);
        await this.next();
        await page.getByLabel('RSA private key').fill(given.key ?? KEY);
        await this.next();
        if (given.name !== undefined) await page.getByLabel('Name').fill(given.name);
        if (given.index !== undefined) {
            await page.getByLabel('Index', { exact: true }).fill(given.index);
            await page.keyboard.press('Escape');
        }
        await this.next();
    }

    async save(): Promise<void> {
        await this.button('Save and test').click();
    }

    /** The sentence of a refusal, which is what the program said, as it is. */
    async problem(): Promise<string> {
        const problem = this.page.getByTestId('problem').first();
        await problem.waitFor({ timeout: PATIENCE });
        const sentence = (await problem.textContent()) ?? '';
        const { refusals } = await this.standIn.record();
        const last = refusals.at(-1) ?? sentence;
        assert.equal(sentence, last.replace('Encountered the following error while trying to save: ', ''));
        return sentence;
    }

    async saved(): Promise<void> {
        await this.page.getByText('The newest events').waitFor({ timeout: PATIENCE });
    }

    async act(name: string, action: string): Promise<void> {
        await this.button(`Actions of ${name}`).click();
        await this.page.getByRole('menuitem', { name: action }).click();
        await this.page.getByRole('menu').waitFor({ state: 'detached' });
    }

    /** What axe-core finds. */
    async findings(): Promise<string[]> {
        // The page's loader of modules is none of the tool's business.
        await this.page.evaluate('window.define = undefined');
        // What fades in is not to be read yet.
        await this.page.waitForFunction(() =>
            Array.from(document.querySelectorAll('[role=dialog], [data-test=layer], [data-test=layer] *')).every(
                (node) => getComputedStyle(node).opacity === '1' || node.closest('[aria-disabled=true], :disabled') !== null,
            ),
        );
        await this.page.evaluate(axe.source);
        return this.page.evaluate(async () => {
            const { axe: tool } = window as unknown as { axe: { run: () => Promise<{ violations: { id: string; nodes: { html: string }[] }[] }> } };
            const { violations } = await tool.run();
            return violations.flatMap((one) => one.nodes.map((node) => `${one.id}: ${node.html.slice(0, 300)}`));
        });
    }
}

/** Gives every test of a file a stand-in of its own and, if `begin` opens one, a visit that is closed after it. */
export function stage(begin: (browser: Browser, standIn: StandIn) => Promise<Visit> | undefined): void {
    let browser: Browser;
    let standIn: StandIn;
    let visit: Visit | undefined;
    before(async () => {
        selectors.setTestIdAttribute('data-test');
        browser = await launch();
    });
    after(() => browser.close());
    beforeEach(async () => {
        standIn = await StandIn.start();
        visit = await begin(browser, standIn);
    });
    afterEach(async () => {
        try {
            await visit?.close();
        } finally {
            standIn.stop();
        }
    });
}
