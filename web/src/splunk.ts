/**
 * splunkd's REST interface, the way Splunk Web lets a page use it: `/<locale>/splunkd/__raw/…`, with the form key in
 * every request. What splunkd refuses becomes a [`RestError`] with its own words.
 */
import { username } from '@splunk/splunk-utils/config';
import { getDefaultFetchInit } from '@splunk/splunk-utils/fetch';
import { createRESTURL, createURL } from '@splunk/splunk-utils/url';

export const APP = 'ds_monitor';

export type Form = Record<string, string>;

export interface Entry {
    name: string;
    acl?: { app?: string };
    content: Record<string, unknown>;
}

export interface Answer {
    entry: Entry[];
    links?: Record<string, string>;
    results: Record<string, unknown>[];
}

export class RestError extends Error {
    constructor(
        readonly status: number,
        message: string,
    ) {
        super(message);
    }

    /** The capability that splunkd says is missing. */
    get capability(): string | undefined {
        return /requires capability:\s*([^).\s]+)/.exec(this.message)?.[1];
    }
}

/** The session has ended: the same call works again once somebody has logged in. */
export class SessionEnded extends RestError {
    constructor() {
        super(401, 'Your session has ended. Log in again, then repeat what you did: nothing that you entered is lost.');
    }
}

type Listener = (ended: boolean) => void;
let listener: Listener = () => undefined;
/** Who wants to know whether the session has ended. */
export const watchSession = (watch: Listener): void => {
    listener = watch;
};

export const loginAddress = (): string => createURL('account/login');

interface Place {
    owner?: string;
    app?: string;
}

const NOBODY: Place = { owner: 'nobody', app: APP };
export const EVERYWHERE: Place = { owner: '-', app: '-' };
export const inApp = (app: string | undefined): Place => ({ owner: 'nobody', app: app ?? APP });

export const get = (path: string, query: Form = {}, place: Place = NOBODY): Promise<Answer> =>
    call('GET', path, place, query);

export const post = (path: string, form: Form = {}, place: Place = NOBODY): Promise<Answer> =>
    call('POST', path, place, {}, form);

export const remove = (path: string, place: Place = NOBODY): Promise<Answer> => call('DELETE', path, place, {});

/** A search that is short enough to wait for. */
export async function search(query: string, earliest: string): Promise<Record<string, unknown>[]> {
    const form = { search: query, exec_mode: 'oneshot', earliest_time: earliest, latest_time: 'now', count: '0' };
    const answer = await post('search/jobs', form, { owner: username ?? 'nobody', app: APP });
    return answer.results;
}

export const segment = encodeURIComponent;

async function call(method: string, path: string, place: Place, query: Form, form?: Form): Promise<Answer> {
    const parameters = new URLSearchParams({ output_mode: 'json', ...query });
    const address = `${createRESTURL(path, place)}?${parameters.toString()}`;
    const init: RequestInit = { ...getDefaultFetchInit(), method, redirect: 'manual' };
    if (form) {
        init.body = new URLSearchParams(form).toString();
    }
    let response: Response;
    try {
        response = await fetch(address, init);
    } catch {
        throw new RestError(0, 'Splunk Web does not answer. Check that it is running and that you are connected, then repeat.');
    }
    const isJson = response.headers.get('content-type')?.includes('json') ?? false;
    // Splunk Web leads to its login page instead of answering, or answers with that page.
    if (response.status === 401 || response.type === 'opaqueredirect' || (response.ok && !isJson)) {
        listener(true);
        throw new SessionEnded();
    }
    const body = (isJson ? await response.json().catch(() => ({})) : {}) as Partial<Answer> & {
        messages?: { type: string; text: string }[];
    };
    if (!response.ok) {
        const text = body.messages?.map((message) => message.text).join(' ');
        throw new RestError(response.status, text ?? `splunkd answered ${String(response.status)}.`);
    }
    listener(false);
    return { ...body, entry: body.entry ?? [], results: body.results ?? [] };
}

/** The text of a setting; absent and null are empty. */
export function text(entry: { content: Record<string, unknown> } | undefined, key: string): string {
    const value = entry?.content[key];
    return value === undefined || value === null ? '' : String(value as string | number | boolean);
}

export function isOn(value: unknown): boolean {
    return value === true || ['1', 'true', 't', 'yes', 'y'].includes(String(value).toLowerCase());
}

export interface Me {
    name: string;
    capabilities: Set<string>;
    roles: string[];
    /** splunkd's Cloud instances say so. */
    isCloud: boolean;
    version: string;
}

export async function whoAmI(): Promise<Me> {
    const context = (await get('authentication/current-context', {}, {})).entry[0];
    const info = (await get('server/info', {}, {})).entry[0];
    const list = (value: unknown): string[] => (Array.isArray(value) ? value.map(String) : []);
    return {
        name: text(context, 'username'),
        capabilities: new Set(list(context?.content['capabilities'])),
        roles: list(info?.content['server_roles']),
        isCloud: text(info, 'instance_type') === 'cloud',
        version: text(info, 'version'),
    };
}
