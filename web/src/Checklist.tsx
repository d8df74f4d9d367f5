/** What is set up and what is not, for every role and on every instance, each with its next step. */
import { type ReactNode, useCallback } from 'react';
import Button from '@splunk/react-ui/Button';
import Chip from '@splunk/react-ui/Chip';
import Link from '@splunk/react-ui/Link';
import Table from '@splunk/react-ui/Table';
import { createURL } from '@splunk/splunk-utils/url';

import { fullName, listInputs, sentenceOf } from './inputs';
import { ago, feeds, healthOfInputs, lookups } from './logs';
import { Busy, Mono, Note, Section, Title, useLoad } from './parts';
import { EVERY_INDEX, indexes, indexMacro, savedSearches } from './searches';
import { type Me, RestError } from './splunk';

type State = 'done' | 'open' | 'unneeded' | 'unknown';

interface Item {
    title: string;
    state: State;
    what: string;
    capability?: string | undefined;
    next?: Next;
}

type Next = 'first' | 'inputs' | 'alerts' | 'search' | 'indexes';

const NEXT: Record<Next, string> = {
    first: 'Go to First steps',
    inputs: 'Go to Inputs',
    alerts: 'Go to Names and alerts',
    search: 'Search the events',
    indexes: 'Splunk’s list of indexes',
};

/** What an administrator needs, and what for. Splunk's editions name some of them differently, so one of each is enough. */
const CAPABILITIES: { any: string[]; what: string }[] = [
    { any: ['list_inputs'], what: 'see the inputs' },
    { any: ['admin_all_objects', 'edit_modinput_ds_monitor'], what: 'create and change inputs' },
    { any: ['list_storage_passwords'], what: 'read secure storage, so that other secrets of an input stay' },
    { any: ['edit_storage_passwords', 'admin_all_objects'], what: 'store keys' },
    { any: ['schedule_search'], what: 'switch alerts on' },
];

export const missingCapabilities = (me: Me): { any: string[]; what: string }[] =>
    CAPABILITIES.filter(({ any }) => !any.some((one) => me.capabilities.has(one)));

/** One question's answer, or why there is none; one that fails must not hide the others. */
async function ask<T>(question: () => Promise<T>): Promise<{ answer?: T; error?: unknown }> {
    try {
        return { answer: await question() };
    } catch (error) {
        return { error };
    }
}

async function check(): Promise<Item[]> {
    const [inputs, lookupInputs, health, events, macro, searches, names, known] = await Promise.all([
        ask(() => listInputs('ds_monitor')),
        ask(() => listInputs('ds_lookups')),
        ask(healthOfInputs),
        ask(feeds),
        ask(indexMacro),
        ask(savedSearches),
        ask(lookups),
        ask(indexes),
    ]);
    const items: Item[] = [];
    const add = (title: string, asked: { error?: unknown }, item: () => Omit<Item, 'title'>): void => {
        if (asked.error === undefined) {
            items.push({ title, ...item() });
            return;
        }
        const capability = asked.error instanceof RestError ? asked.error.capability : undefined;
        items.push({ title, state: 'unknown', what: sentenceOf(asked.error), capability });
    };
    const here = inputs.answer?.inputs ?? [];
    const isHere = (source: string): boolean => here.some((input) => fullName('ds_monitor', input.name) === source);
    const found = events.answer ?? [];
    const elsewhere = [...new Set(found.filter((feed) => !isHere(feed.source)).map((feed) => `${feed.source} on ${feed.host}`))];

    add('Inputs on this instance', inputs, () => {
        const on = here.filter((input) => !input.isDisabled);
        const broken = on.filter((input) => health.answer?.get(fullName('ds_monitor', input.name))?.problem !== undefined);
        if (here.length === 0 && elsewhere.length > 0) {
            return { state: 'unneeded', what: 'None; events come from elsewhere.' };
        }
        if (broken.length > 0) {
            return { state: 'open', what: `In trouble: ${broken.map((input) => input.name).join(', ')}.`, next: 'inputs' };
        }
        return on.length > 0
            ? { state: 'done', what: `${String(on.length)} of ${String(here.length)} enabled: ${on.map((input) => input.name).join(', ')}.` }
            : { state: 'open', what: here.length === 0 ? 'None.' : 'All are disabled.', next: here.length === 0 ? 'first' : 'inputs' };
    });
    add('Inputs elsewhere', events, () =>
        elsewhere.length > 0
            ? { state: 'done', what: `Events of the last week came from ${elsewhere.join(', ')}.` }
            : { state: here.length > 0 ? 'unneeded' : 'open', what: 'No other source has sent events in the last week.' },
    );
    add('Events', events, () => {
        const newest = Math.max(...found.map((feed) => feed.newest));
        const count = found.reduce((sum, feed) => sum + feed.count, 0);
        return count > 0
            ? { state: 'done', what: `${String(count)} in the last week, the newest ${ago(newest)}.`, next: 'search' }
            : { state: 'open', what: 'None in the last week, or you may not search the index that holds them.', next: here.length > 0 ? 'inputs' : 'first' };
    });
    add('Indexes', known, () => {
        const used = [...new Set(here.map((input) => input.values['index'] ?? '').filter((index) => index !== '' && index !== 'default'))];
        const unknown = used.filter((index) => !known.answer?.includes(index));
        return unknown.length === 0
            ? { state: 'done', what: used.length === 0 ? 'No input names one.' : `This instance knows ${used.join(', ')}.` }
            : { state: 'open', what: `This instance does not know ${unknown.join(', ')}. That is right only if it forwards its events.`, next: 'indexes' };
    });
    add('Macro ds_monitor_index', macro, () => {
        const definition = macro.answer ?? '';
        return definition === EVERY_INDEX
            ? { state: 'open', what: `Searches look into every index (${EVERY_INDEX}), which is slow.`, next: 'alerts' }
            : { state: 'done', what: `Searches look into ${definition}.` };
    });
    add('Names for users and accounts', names, () => {
        const filled = (names.answer ?? []).filter((lookup) => lookup.rows > 0);
        const all = lookupInputs.answer?.inputs ?? [];
        const rows = filled.map((lookup) => `${lookup.lookup} has ${String(lookup.rows)} rows${age(lookup.refreshed)}`);
        if (filled.length > 0) return { state: 'done', what: `${rows.join('; ')}.` };
        return { state: 'open', what: all.length === 0 ? 'The lookups are empty.' : 'The lookups are empty until the first refresh.', next: 'alerts' };
    });
    add('Health alerts', searches, () => switched(searches.answer?.health ?? []));
    add('Detections', searches, () => switched(searches.answer?.detections ?? []));
    return items;
}

function switched(searches: { isOn: boolean }[]): Omit<Item, 'title'> {
    const on = searches.filter((search) => search.isOn).length;
    const what = `${String(on)} of ${String(searches.length)} are on.`;
    return on > 0 ? { state: 'done', what } : { state: 'open', what, next: 'alerts' };
}

function age(refreshed: string): string {
    const time = Date.parse(refreshed);
    return Number.isNaN(time) ? '' : `, refreshed ${ago(time / 1000)}`;
}

interface Props {
    me: Me;
    onGo: (tab: 'first' | 'inputs' | 'alerts') => void;
}

export function Checklist({ me, onGo }: Props): ReactNode {
    const items = useLoad(useCallback(check, []));
    const missing = missingCapabilities(me);
    return (
        <Section>
            <Title>What is set up on this instance</Title>
            {missing.length === 0 ? null : (
                <Note data-test="missing-capabilities">
                    You are {me.name}. To set everything up yourself you would also need the capabilities{' '}
                    {missing.map(({ any, what }, at) => (
                        <span key={what}>
                            {at === 0 ? '' : '; '}
                            <Mono>{any[0]}</Mono> to {what}
                        </span>
                    ))}
                    .
                </Note>
            )}
            {items.data === undefined ? (
                <Busy>Looking …</Busy>
            ) : (
                <Table stripeRows data-test="checklist">
                    <Table.Head>
                        <Table.HeadCell>What</Table.HeadCell>
                        <Table.HeadCell style={{ minWidth: 110 }}>State</Table.HeadCell>
                        <Table.HeadCell>Found</Table.HeadCell>
                        <Table.HeadCell>Next step</Table.HeadCell>
                    </Table.Head>
                    <Table.Body>
                        {items.data.map((item) => (
                            <Table.Row key={item.title}>
                                <Table.Cell>{item.title}</Table.Cell>
                                <Table.Cell>
                                    <StateChip state={item.state} />
                                </Table.Cell>
                                <Table.Cell>{item.what}</Table.Cell>
                                <Table.Cell>
                                    <NextStep item={item} onGo={onGo} />
                                </Table.Cell>
                            </Table.Row>
                        ))}
                    </Table.Body>
                </Table>
            )}
            <div style={{ marginTop: 16 }}>
                <Button label="Look again" onClick={() => void items.reload()} />
            </div>
        </Section>
    );
}

function StateChip({ state }: { state: State }): ReactNode {
    switch (state) {
        case 'done':
            return <Chip appearance="success">Done</Chip>;
        case 'open':
            return <Chip appearance="warning">To do</Chip>;
        case 'unneeded':
            return <Chip>Not needed</Chip>;
        default:
            return <Chip>Not known</Chip>;
    }
}

function NextStep({ item, onGo }: { item: Item; onGo: Props['onGo'] }): ReactNode {
    if (item.capability !== undefined) {
        return (
            <>
                Ask an administrator for <Mono>{item.capability}</Mono>.
            </>
        );
    }
    const { next } = item;
    if (next === undefined) return null;
    if (next === 'search') {
        return <Link to={createURL('app/ds_monitor/search', { q: 'search `ds_monitor_events`' })}>{NEXT[next]}</Link>;
    }
    if (next === 'indexes') {
        return <Link to={createURL('manager/ds_monitor/data/indexes')}>{NEXT[next]}</Link>;
    }
    return (
        <Button
            label={NEXT[next]}
            onClick={() => {
                onGo(next);
            }}
        />
    );
}
