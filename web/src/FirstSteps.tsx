/** From nothing to the first events: one screen for each step, and everything that was entered stays until it is saved. */
import { type ReactNode, useCallback, useEffect, useRef, useState } from 'react';
import Button from '@splunk/react-ui/Button';
import ComboBox from '@splunk/react-ui/ComboBox';
import ControlGroup from '@splunk/react-ui/ControlGroup';
import DefinitionList from '@splunk/react-ui/DefinitionList';
import Link from '@splunk/react-ui/Link';
import List from '@splunk/react-ui/List';
import Message from '@splunk/react-ui/Message';
import RadioList from '@splunk/react-ui/RadioList';
import StepBar from '@splunk/react-ui/StepBar';
import Switch from '@splunk/react-ui/Switch';
import Table from '@splunk/react-ui/Table';
import Text from '@splunk/react-ui/Text';

import { Alerts } from './Alerts';
import { isGuid, problemOf } from './checks';
import { addressesOf, argumentOf, CONSENT } from './declaration';
import { defaultsOf, fullName, type Input, saveInput, sentenceOf } from './inputs';
import { isKeyUsable, KeyField, type KeyValue, NO_KEY } from './KeyField';
import { duration, type FirstEvent, type Health, healthOfInputs, newestEvents } from './logs';
import { ArgumentField, Busy, Column, Copyable, Facts, Mono, Note, Problem, Row, Section, Title, useAction, useLoad } from './parts';
import { indexes } from './searches';
import { type Form, type Me, RestError } from './splunk';

export interface Draft {
    step: number;
    name: string;
    /** Arguments of the input and Splunk's own settings, as typed. */
    values: Form;
    key: KeyValue;
    start: 'week' | 'date' | 'earliest' | 'cursor';
    startText: string;
    consentForLookups: boolean;
    saved?: Input;
}

export const NEW_DRAFT: Draft = {
    step: 0,
    name: 'docusign',
    values: {},
    key: NO_KEY,
    start: 'week',
    startText: '',
    consentForLookups: true,
};

const STEPS = ['What you need', 'Docusign app', 'Key', 'What to collect', 'Save and test', 'Names and alerts'];
const [APP_STEP, KEY_STEP, COLLECT_STEP, SAVE_STEP, LAST_STEP] = [1, 2, 3, 4, 5];

/** Docusign's page for keys, apps and consent, in either world. */
const APPS_AND_KEYS: Record<string, string> = {
    production: 'https://apps.docusign.com/admin/apps-and-keys',
    demo: 'https://apps-d.docusign.com/admin/apps-and-keys',
};
const USERS: Record<string, string> = {
    production: 'https://apps.docusign.com/admin/users',
    demo: 'https://apps-d.docusign.com/admin/users',
};

interface Props {
    me: Me;
    draft: Draft;
    onDraft: (change: (draft: Draft) => Draft) => void;
}

export function FirstSteps({ me, draft, onDraft }: Props): ReactNode {
    const defaults = useLoad(useCallback(() => defaultsOf('ds_monitor'), []));
    const values = { ...defaults.data, ...draft.values };
    const set = (name: string, value: string): void => {
        onDraft((before) => ({ ...before, values: { ...before.values, [name]: value } }));
    };
    const go = (step: number): void => {
        onDraft((before) => ({ ...before, step }));
    };
    const heading = useRef<HTMLDivElement>(null);
    const shown = useRef(draft.step);
    useEffect(() => {
        // Who uses the keyboard goes on at the top of the new screen, not at a button that is gone.
        if (shown.current !== draft.step) {
            shown.current = draft.step;
            heading.current?.focus();
        }
    }, [draft.step]);

    const missing = missingIn(draft, values);
    const shared = { draft, onDraft, values, set };
    return (
        <>
            <StepBar activeStepId={draft.step} aria-label="Steps" style={{ maxWidth: 1200 }}>
                {STEPS.map((step) => (
                    <StepBar.Step key={step}>{step}</StepBar.Step>
                ))}
            </StepBar>
            <Column ref={heading} tabIndex={-1} style={{ outline: 'none', marginTop: 24 }}>
                {draft.step === 0 ? <WhatYouNeed {...shared} /> : null}
                {draft.step === APP_STEP ? <DocusignApp {...shared} /> : null}
                {draft.step === KEY_STEP ? <Key {...shared} /> : null}
                {draft.step === COLLECT_STEP ? <Collect {...shared} /> : null}
                {draft.step === SAVE_STEP ? (
                    <Save {...shared} defaults={defaults.data ?? {}} missing={missing} go={go} />
                ) : null}
                {draft.step === LAST_STEP ? <Finish me={me} draft={draft} /> : null}
                <Row>
                    {draft.step > 0 && draft.step < SAVE_STEP ? (
                        <Button
                            label="Back"
                            onClick={() => {
                                go(draft.step - 1);
                            }}
                        />
                    ) : null}
                    {draft.step < SAVE_STEP || (draft.step === SAVE_STEP && draft.saved) ? (
                        <Button
                            appearance="primary"
                            label="Next"
                            disabled={missing.some((item) => item.step === draft.step)}
                            onClick={() => {
                                go(draft.step + 1);
                            }}
                        />
                    ) : null}
                    {draft.step === LAST_STEP ? (
                        <Button
                            label="Set up another input"
                            onClick={() => {
                                onDraft(() => ({ ...NEW_DRAFT, name: '' }));
                            }}
                        />
                    ) : null}
                </Row>
            </Column>
        </>
    );
}

interface Missing {
    step: number;
    what: string;
}

/** What still keeps the input from being saved. */
function missingIn(draft: Draft, values: Form): Missing[] {
    const missing: Missing[] = [];
    const need = (step: number, isThere: boolean, what: string): void => {
        if (!isThere) missing.push({ step, what });
    };
    need(APP_STEP, isGuid(values['integration_key'] ?? ''), argumentOf('ds_monitor', 'integration_key').title);
    need(APP_STEP, isGuid(values['user_id'] ?? ''), argumentOf('ds_monitor', 'user_id').title);
    need(APP_STEP, problemOf('organization_id', values['organization_id'] ?? '') === undefined, argumentOf('ds_monitor', 'organization_id').title);
    need(KEY_STEP, isKeyUsable(draft.key), argumentOf('ds_monitor', 'private_key').title);
    need(COLLECT_STEP, draft.name !== '' && problemOf('name', draft.name) === undefined, 'Name');
    need(COLLECT_STEP, problemOf('interval', values['interval'] ?? '') === undefined, 'Interval');
    const hasStart = draft.start === 'week' || draft.start === 'earliest' || draft.startText.trim() !== '';
    need(COLLECT_STEP, hasStart && problemOf('start_from', draft.startText) === undefined, argumentOf('ds_monitor', 'start_from').title);
    return missing;
}

interface StepProps {
    draft: Draft;
    onDraft: Props['onDraft'];
    values: Form;
    set: (name: string, value: string) => void;
}

const environmentOf = (values: Form): string => values['environment'] || 'production';

function WhatYouNeed({ values, set }: StepProps): ReactNode {
    const environment = argumentOf('ds_monitor', 'environment');
    const chosen = environmentOf(values);
    return (
        <Section>
            <Title>What you need from Docusign</Title>
            <Note>
                Docusign has two separate worlds. Users, keys and consents of one are unknown in the other, so choose first; the links
                below lead to the right pages.
            </Note>
            <ControlGroup label={environment.title} labelPosition="top" help={environment.description}>
                <RadioList
                    value={chosen}
                    onChange={(_, { value }) => {
                        set('environment', String(value));
                    }}
                >
                    {environment.options.map((option) => (
                        <RadioList.Option key={option.value} value={option.value}>
                            {option.label}
                        </RadioList.Option>
                    ))}
                </RadioList>
            </ControlGroup>
            <List>
                <List.Item>
                    Docusign Monitor, switched on for your organization. Your Docusign account manager knows whether it is.
                </List.Item>
                <List.Item>
                    A user that Splunk acts for: an administrator of exactly one organization. You need its User ID, from{' '}
                    <Link to={USERS[chosen] ?? ''} openInNewContext>
                        Users
                    </Link>
                    .
                </List.Item>
                <List.Item>
                    An app with an integration key and an RSA key pair, from{' '}
                    <Link to={APPS_AND_KEYS[chosen] ?? ''} openInNewContext>
                        Apps and Keys
                    </Link>
                    . Docusign shows the private key once: keep it until this is done.
                </List.Item>
                <List.Item>
                    In that app, under Additional settings, exactly this redirect URI: <Mono>{CONSENT.redirect_uri}</Mono>
                </List.Item>
                {chosen === 'production' ? (
                    <List.Item>
                        If the app was made in a developer account: Docusign’s Go-Live, before which production does not know the key.
                    </List.Item>
                ) : null}
            </List>
        </Section>
    );
}

/** The same address that the program prints when the consent is missing. */
export function consentAddress(values: Form, withLookups: boolean): string {
    const base = values['auth_url'] || addressesOf(environmentOf(values)).auth_url;
    const scope = (withLookups ? CONSENT.lookups : CONSENT.events).replaceAll(' ', '%20');
    const key = (values['integration_key'] ?? '').trim().toLowerCase();
    return `${base.replace(/\/+$/, '')}/oauth/auth?response_type=code&scope=${scope}&client_id=${key}&redirect_uri=${CONSENT.redirect_uri}`;
}

function DocusignApp({ draft, onDraft, values, set }: StepProps): ReactNode {
    const isKeyKnown = isGuid(values['integration_key'] ?? '');
    return (
        <Section>
            <Title>Docusign app</Title>
            {['integration_key', 'user_id', 'organization_id'].map((name) => (
                <ArgumentField
                    key={name}
                    argument={argumentOf('ds_monitor', name)}
                    value={values[name] ?? ''}
                    onChange={(value) => {
                        set(name, value);
                    }}
                />
            ))}
            <Title level={3}>Consent</Title>
            <Note>
                The user must allow the app to act for it, once. Open this address in a private browser window, log in as that user and
                accept. The browser then complains that it cannot open the address it was sent to: that is as it should be.
            </Note>
            <Switch
                appearance="toggle"
                selected={draft.consentForLookups}
                onClick={(_, { selected }) => {
                    onDraft((before) => ({ ...before, consentForLookups: !selected }));
                }}
            >
                Also for the names of users, accounts and permission profiles (lookups)
            </Switch>
            {isKeyKnown ? (
                <Copyable text={consentAddress(values, draft.consentForLookups)} label="Consent address" openAs="Open" />
            ) : (
                <Note>The address appears here as soon as the integration key is entered.</Note>
            )}
        </Section>
    );
}

function Key({ draft, onDraft }: StepProps): ReactNode {
    return (
        <Section>
            <Title>Key</Title>
            <Note>
                The private key belongs to the integration key. It goes to Splunk’s secure storage before anything else is saved, and
                never into inputs.conf.
            </Note>
            <KeyField
                value={draft.key}
                onChange={(key) => {
                    onDraft((before) => ({ ...before, key }));
                }}
            />
        </Section>
    );
}

const STARTS: { value: Draft['start']; label: string; cost: string }[] = [
    {
        value: 'week',
        label: 'The last 7 days',
        cost: 'Ready within minutes, and enough to see whether everything works. This is the default.',
    },
    {
        value: 'date',
        label: 'A date',
        cost: 'Every event since then, once. An event is about 1 kB of your license; a year of a busy organization can be some gigabytes on one day.',
    },
    {
        value: 'earliest',
        label: 'Everything that Docusign has',
        cost: 'Back to January 2021. It can take hours and the most license, and nothing new arrives before it is done.',
    },
    {
        value: 'cursor',
        label: 'Where another collector stopped',
        cost: 'The cursor of that collector. Nothing is collected twice, and nothing is missed.',
    },
];

function Collect({ draft, onDraft, values, set }: StepProps): ReactNode {
    const known = useLoad(indexes);
    const index = values['index'] ?? '';
    const isUnknown = known.data !== undefined && index !== '' && index !== 'default' && !known.data.includes(index);
    return (
        <Section>
            <Title>What to collect</Title>
            <NameField
                value={draft.name}
                onChange={(name) => {
                    onDraft((before) => ({ ...before, name }));
                }}
            />
            <IndexField known={known.data ?? []} value={index} isUnknown={isUnknown} onChange={(value) => { set('index', value); }} />
            <IntervalField value={values['interval'] ?? ''} onChange={(value) => { set('interval', value); }} />
            <ControlGroup label={argumentOf('ds_monitor', 'start_from').title} labelPosition="top" help="Only the first run looks at this.">
                <RadioList
                    value={draft.start}
                    onChange={(_, { value }) => {
                        onDraft((before) => ({ ...before, start: value as Draft['start'], startText: '' }));
                    }}
                >
                    {STARTS.map((start) => (
                        <RadioList.Option key={start.value} value={start.value} description={start.cost}>
                            {start.label}
                        </RadioList.Option>
                    ))}
                </RadioList>
            </ControlGroup>
            {draft.start === 'date' || draft.start === 'cursor' ? (
                <CheckedField
                    argument="start_from"
                    label={draft.start === 'date' ? 'Date' : 'Cursor'}
                    help={draft.start === 'date' ? 'For example 2026-01-31, midnight UTC.' : 'For example aa_637218935854425652_637218935412032088_12.'}
                    value={draft.startText}
                    onChange={(startText) => {
                        onDraft((before) => ({ ...before, startText }));
                    }}
                />
            ) : null}
        </Section>
    );
}

interface CheckedProps {
    argument: string;
    label: string;
    help: string;
    required?: boolean;
    value: string;
    onChange: (value: string) => void;
}

/** A field of one line that says what is wrong with what is in it. */
function CheckedField({ argument, label, help, required = false, value, onChange }: CheckedProps): ReactNode {
    const problem = problemOf(argument, value);
    return (
        <ControlGroup label={label} labelPosition="top" required={required} error={problem ?? false} help={help}>
            <Text
                value={value}
                spellCheck={false}
                error={problem !== undefined}
                onChange={(_, { value: typed }) => {
                    onChange(typed);
                }}
            />
        </ControlGroup>
    );
}

type FieldProps = Pick<CheckedProps, 'value' | 'onChange'>;

export function NameField(props: FieldProps): ReactNode {
    return (
        <CheckedField argument="name" label="Name" required help="A short name of your choice; it appears as the source of the events." {...props} />
    );
}

interface IndexProps {
    known: string[];
    value: string;
    isUnknown: boolean;
    onChange: (value: string) => void;
}

export function IndexField({ known, value, isUnknown, onChange }: IndexProps): ReactNode {
    const options = ['default', ...known];
    return (
        <ControlGroup
            label="Index"
            labelPosition="top"
            help={
                isUnknown
                    ? 'This instance has no such index. That is right if it forwards its events to indexers that have one; otherwise create the index first.'
                    : 'Where the events go. An index of its own makes every search faster and access easy to grant.'
            }
        >
            <ComboBox
                value={value}
                onChange={(_, { value: typed }) => {
                    onChange(typed.trim());
                }}
            >
                {options.map((option) => (
                    <ComboBox.Option key={option} value={option} />
                ))}
            </ComboBox>
        </ControlGroup>
    );
}

export function IntervalField(props: FieldProps): ReactNode {
    return (
        <CheckedField
            argument="interval"
            label="Interval"
            help="Seconds between two runs, or a cron schedule of five fields. For events 60 to 300 is usual, for lookups 86400, a day."
            {...props}
        />
    );
}

interface SaveProps extends StepProps {
    defaults: Form;
    missing: Missing[];
    go: (step: number) => void;
}

/** In which step one can do what a sentence asks for; the sentences name the fields by their titles or arguments. */
function stepOf(sentence: string): number | undefined {
    if (/private.key/i.test(sentence)) return KEY_STEP;
    if (/start.from/i.test(sentence)) return COLLECT_STEP;
    if (/consent|user.id|the user|integration.key|organization/i.test(sentence)) return APP_STEP;
    return undefined;
}

function Save({ draft, onDraft, values, defaults, missing, go }: SaveProps): ReactNode {
    const { isBusy, error, run } = useAction();
    const save = async (): Promise<void> => {
        const startFrom = { week: '', earliest: 'earliest', date: draft.startText.trim(), cursor: draft.startText.trim() }[draft.start];
        const all: Form = { ...values, start_from: startFrom, private_key_path: draft.key.from === 'path' ? draft.key.path.trim() : '' };
        const trimmed = Object.fromEntries(Object.entries(all).map(([name, value]) => [name, value.trim()]));
        const secrets: Form = draft.key.from === 'text' ? { private_key: draft.key.text } : {};
        const isSaved = await run(() => saveInput({ kind: 'ds_monitor', name: draft.name, values: trimmed, secrets, defaults }));
        if (isSaved) {
            const saved: Input = { kind: 'ds_monitor', name: draft.name, app: 'ds_monitor', isDisabled: false, values: trimmed };
            // The key has done its work here.
            onDraft((before) => ({ ...before, key: NO_KEY, saved }));
        }
    };
    if (draft.saved) {
        return <Arrivals input={draft.saved} />;
    }
    const environment = argumentOf('ds_monitor', 'environment');
    const step = error === undefined ? undefined : stepOf(sentenceOf(error));
    const isTaken = error instanceof RestError && error.status === 409;
    return (
        <Section>
            <Title>Save and test</Title>
            <Note>
                Saving is the test: Splunk asks Docusign for a token and one record, within about ten seconds. What Docusign refuses is
                not saved.
            </Note>
            <Facts layout="auto" style={{ marginBottom: 16 }}>
                <DefinitionList.Term>Input</DefinitionList.Term>
                <DefinitionList.Description>{fullName('ds_monitor', draft.name)}</DefinitionList.Description>
                <DefinitionList.Term>{environment.title}</DefinitionList.Term>
                <DefinitionList.Description>
                    {environment.options.find((option) => option.value === environmentOf(values))?.label ?? environmentOf(values)}
                </DefinitionList.Description>
                <DefinitionList.Term>Index</DefinitionList.Term>
                <DefinitionList.Description>{values['index'] || 'default'}</DefinitionList.Description>
                <DefinitionList.Term>Key</DefinitionList.Term>
                <DefinitionList.Description>
                    {draft.key.from === 'path' ? draft.key.path : 'goes to secure storage first'}
                </DefinitionList.Description>
            </Facts>
            {missing.length > 0 ? (
                <Message type="warning" appearance="fill">
                    Still missing: {missing.map((item) => item.what).join(', ')}.
                </Message>
            ) : null}
            {isBusy ? <Busy>Storing the key, then asking Docusign …</Busy> : null}
            {isBusy ? null : (
                <Problem error={error}>
                    {isTaken ? ' Choose another name, or edit the input that has it, under Inputs.' : null}
                    {step === undefined || isTaken ? null : (
                        <Row style={{ marginBottom: 0 }}>
                            <Button
                                label={`Go to ${STEPS[step] ?? ''}`}
                                onClick={() => {
                                    go(step);
                                }}
                            />
                        </Row>
                    )}
                </Problem>
            )}
            <Row>
                <Button
                    label="Back"
                    disabled={isBusy}
                    onClick={() => {
                        go(SAVE_STEP - 1);
                    }}
                />
                <Button
                    appearance="primary"
                    label="Save and test"
                    disabled={isBusy || missing.length > 0}
                    onClick={() => {
                        void save();
                    }}
                />
            </Row>
        </Section>
    );
}

/** How often it is asked whether events have come. */
const POLL_MS = 2000;

function Arrivals({ input }: { input: Input }): ReactNode {
    const [events, setEvents] = useState<FirstEvent[]>([]);
    const [health, setHealth] = useState<Health>();
    const [error, setError] = useState<unknown>();
    useEffect(() => {
        let isAlive = true;
        let timer: ReturnType<typeof setTimeout> | undefined;
        const look = async (): Promise<void> => {
            try {
                const found = await newestEvents(input);
                const all = await healthOfInputs();
                if (!isAlive) return;
                setEvents(found);
                setHealth(all.get(fullName(input.kind, input.name)));
                setError(undefined);
            } catch (problem) {
                if (isAlive) setError(problem);
            }
            if (isAlive) timer = setTimeout(() => void look(), POLL_MS);
        };
        void look();
        return () => {
            isAlive = false;
            clearTimeout(timer);
        };
    }, [input]);
    const isQuiet = events.length === 0 && health?.lastRun !== undefined && health.problem === undefined;
    return (
        <Section>
            <Title>The first events</Title>
            <div role="status">
                <Message type="success" appearance="fill">
                    <Mono>{fullName(input.kind, input.name)}</Mono> is saved: Docusign accepts the key and the user.
                </Message>
            </div>
            <Problem error={health?.problem ? new Error(health.problem.sentence) : error} />
            {isQuiet ? (
                <Message type="info" appearance="fill">
                    The first run has ended well{health.records ? `, and brought ${String(health.records)} events` : ', and Docusign had no events'}. They appear
                    here as soon as Splunk has indexed them.
                </Message>
            ) : null}
            {events.length === 0 && !isQuiet ? <Busy>Waiting for the first events …</Busy> : null}
            {events.length > 0 ? <EventTable events={events} health={health} /> : null}
        </Section>
    );
}

function EventTable({ events, health }: { events: FirstEvent[]; health: Health | undefined }): ReactNode {
    return (
        <>
            <Note>
                The newest events{health?.records === undefined ? '' : ` of ${String(health.records)} in the last run`}
                {health?.lag === undefined ? '' : `, ${duration(health.lag)} behind Docusign`}.
            </Note>
            <Table stripeRows data-test="first-events">
                <Table.Head>
                    <Table.HeadCell>Time</Table.HeadCell>
                    <Table.HeadCell>Event</Table.HeadCell>
                    <Table.HeadCell>User</Table.HeadCell>
                    <Table.HeadCell>From</Table.HeadCell>
                </Table.Head>
                <Table.Body>
                    {events.map((event, at) => (
                        <Table.Row key={at}>
                            <Table.Cell>{event.time.replace('T', ' ').slice(0, 19)}</Table.Cell>
                            <Table.Cell>{event.what}</Table.Cell>
                            <Table.Cell>{event.who}</Table.Cell>
                            <Table.Cell>{event.where}</Table.Cell>
                        </Table.Row>
                    ))}
                </Table.Body>
            </Table>
        </>
    );
}

function Finish({ me, draft }: { me: Me; draft: Draft }): ReactNode {
    return (
        <Section>
            <Title>Names and alerts</Title>
            <Note>All of this can wait, and can be changed later under Names and alerts.</Note>
            <Alerts me={me} index={draft.saved?.values['index']} monitorInput={draft.saved?.name} />
        </Section>
    );
}
