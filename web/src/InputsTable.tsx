/** The inputs of this instance: how they fare, and everything that can be done with one. */
import { type ReactNode, useCallback, useEffect, useRef, useState } from 'react';
import Button from '@splunk/react-ui/Button';
import Chip from '@splunk/react-ui/Chip';
import DefinitionList from '@splunk/react-ui/DefinitionList';
import Dropdown from '@splunk/react-ui/Dropdown';
import Menu from '@splunk/react-ui/Menu';
import Message from '@splunk/react-ui/Message';
import Modal from '@splunk/react-ui/Modal';
import Table from '@splunk/react-ui/Table';

import { type Kind, MASK } from './declaration';
import { InputForm } from './InputForm';
import { deleteInput, enable, fullName, type Input, listInputs, saveInput } from './inputs';
import { isKeyUsable, KeyField, NO_KEY } from './KeyField';
import { ago, duration, type Health, healthOfInputs } from './logs';
import { Busy, Column, Facts, Mono, Note, Problem, Row, Section, Title, useAction, useLoad } from './parts';

/** How often the table is brought up to date; more often for a while after a change, which starts a run. */
const REFRESH_MS = 15_000;
const SOON_MS = 3000;
const WHILE_MS = 60_000;

type Open = { what: 'edit' | 'clone' | 'rotate' | 'delete'; input: Input } | { what: 'new' };

export function Inputs({ onFirstSteps }: { onFirstSteps: () => void }): ReactNode {
    const monitors = useLoad(useCallback(() => listInputs('ds_monitor'), []));
    const lookups = useLoad(useCallback(() => listInputs('ds_lookups'), []));
    const health = useLoad(healthOfInputs);
    const [open, setOpen] = useState<Open>();
    const { isBusy, error, run } = useAction();
    const opener = useRef<HTMLElement | null>(null);
    const reload = useCallback(async () => {
        await Promise.all([monitors.reload(), lookups.reload(), health.reload()]);
    }, [monitors.reload, lookups.reload, health.reload]); // eslint-disable-line react-hooks/exhaustive-deps -- the three are stable, their holders are not

    const [changedAt, setChangedAt] = useState(0);
    useEffect(() => {
        let isAlive = true;
        let timer: ReturnType<typeof setTimeout> | undefined;
        const wait = (): void => {
            if (!isAlive) return;
            const isSoon = Date.now() - changedAt < WHILE_MS;
            timer = setTimeout(() => void reload().then(wait), isSoon ? SOON_MS : REFRESH_MS);
        };
        wait();
        return () => {
            isAlive = false;
            clearTimeout(timer);
        };
    }, [reload, changedAt]);

    const close = (): void => {
        setOpen(undefined);
    };
    const done = (): void => {
        close();
        setChangedAt(Date.now());
        void reload();
    };
    if (open !== undefined && (open.what === 'edit' || open.what === 'clone' || open.what === 'new')) {
        const input = open.what === 'new' ? undefined : open.input;
        return (
            <InputForm
                kind={input?.kind ?? 'ds_lookups'}
                input={input}
                isClone={open.what === 'clone'}
                monitors={(monitors.data?.inputs ?? []).map((one) => one.name)}
                onDone={done}
                onCancel={close}
            />
        );
    }
    const table = (kind: Kind): ReactNode => {
        const loaded = kind === 'ds_monitor' ? monitors : lookups;
        if (loaded.data === undefined) {
            return loaded.error === undefined ? <Busy>Reading the inputs …</Busy> : null;
        }
        if (loaded.data.inputs.length === 0) {
            return <Note>There is none on this instance.</Note>;
        }
        return (
            <InputTable
                kind={kind}
                inputs={loaded.data.inputs}
                health={health.data ?? new Map<string, Health>()}
                isBusy={isBusy}
                onOpen={(what, input) => {
                    opener.current = document.activeElement as HTMLElement | null;
                    setOpen({ what, input });
                }}
                onSwitch={(input) => {
                    void run(async () => {
                        await enable(input, input.isDisabled);
                        setChangedAt(Date.now());
                        await reload();
                    });
                }}
            />
        );
    };
    return (
        <>
            <Problem error={error ?? monitors.error ?? lookups.error} />
            {health.error === undefined ? null : <Problem error={health.error} />}
            <Section>
                <Title>Events</Title>
                {table('ds_monitor')}
                <Row>
                    <Button label="Add an input" onClick={onFirstSteps} />
                </Row>
            </Section>
            <Section>
                <Title>Lookups</Title>
                {table('ds_lookups')}
                <Row>
                    <Button
                        label="Add a lookups input"
                        disabled={(monitors.data?.inputs ?? []).length === 0}
                        onClick={() => {
                            setOpen({ what: 'new' });
                        }}
                    />
                </Row>
            </Section>
            {open?.what === 'delete' ? <Delete input={open.input} onDone={done} onCancel={close} opener={opener} /> : null}
            {open?.what === 'rotate' ? <Rotate input={open.input} onDone={done} onCancel={close} opener={opener} /> : null}
        </>
    );
}

interface TableProps {
    kind: Kind;
    inputs: Input[];
    health: Map<string, Health>;
    isBusy: boolean;
    onOpen: (what: 'edit' | 'clone' | 'rotate' | 'delete', input: Input) => void;
    onSwitch: (input: Input) => void;
}

function InputTable({ kind, inputs, health, isBusy, onOpen, onSwitch }: TableProps): ReactNode {
    const isMonitor = kind === 'ds_monitor';
    return (
        <Table stripeRows data-test={`table-${kind}`}>
            <Table.Head>
                <Table.HeadCell>Input</Table.HeadCell>
                <Table.HeadCell>{isMonitor ? 'Environment' : 'Of input'}</Table.HeadCell>
                <Table.HeadCell>Index</Table.HeadCell>
                <Table.HeadCell>State</Table.HeadCell>
                <Table.HeadCell>Last run</Table.HeadCell>
                {isMonitor ? <Table.HeadCell>Behind</Table.HeadCell> : <Table.HeadCell>Output</Table.HeadCell>}
                <Table.HeadCell>Member</Table.HeadCell>
                <Table.HeadCell>Actions</Table.HeadCell>
            </Table.Head>
            <Table.Body>
                {inputs.map((input) => {
                    const one = health.get(fullName(kind, input.name));
                    const isEvents = isMonitor || input.values['output'] === 'index';
                    return [
                        <Table.Row key={input.name} data-test={`input-${input.name}`}>
                            <Table.Cell>{input.name}</Table.Cell>
                            <Table.Cell>{isMonitor ? input.values['environment'] || 'production' : input.values['monitor_input']}</Table.Cell>
                            <Table.Cell>{isEvents ? input.values['index'] || 'default' : ''}</Table.Cell>
                            <Table.Cell>
                                <State input={input} health={one} />
                            </Table.Cell>
                            <Table.Cell>{ago(one?.lastRun)}</Table.Cell>
                            <Table.Cell>{isMonitor ? duration(one?.lag) : input.values['output'] || 'csv'}</Table.Cell>
                            <Table.Cell>{one?.member ?? ''}</Table.Cell>
                            <Table.Cell>
                                <Dropdown toggle={<Button label="Actions" aria-label={`Actions of ${input.name}`} isMenu disabled={isBusy} />}>
                                    <Menu>
                                        <Menu.Item onClick={() => { onOpen('edit', input); }}>Edit</Menu.Item>
                                        <Menu.Item onClick={() => { onOpen('clone', input); }}>Clone</Menu.Item>
                                        {isMonitor ? <Menu.Item onClick={() => { onOpen('rotate', input); }}>Rotate the key</Menu.Item> : null}
                                        <Menu.Item onClick={() => { onSwitch(input); }}>{input.isDisabled ? 'Enable' : 'Disable'}</Menu.Item>
                                        <Menu.Item onClick={() => { onOpen('delete', input); }}>Delete</Menu.Item>
                                    </Menu>
                                </Dropdown>
                            </Table.Cell>
                        </Table.Row>,
                        one?.problem !== undefined || one?.position ? (
                            <Table.Row key={`${input.name} details`}>
                                <Table.Cell colSpan={8}>
                                    {one.problem === undefined ? null : (
                                        <Message type="error">
                                            <strong>{`${ago(one.problem.at)}: `}</strong>
                                            <span data-test="last-error">{one.problem.sentence}</span>
                                        </Message>
                                    )}
                                    {one.position ? (
                                        <Facts layout="auto">
                                            <DefinitionList.Term>Position</DefinitionList.Term>
                                            <DefinitionList.Description>
                                                <Mono>{one.position}</Mono>
                                            </DefinitionList.Description>
                                        </Facts>
                                    ) : null}
                                </Table.Cell>
                            </Table.Row>
                        ) : null,
                    ];
                })}
            </Table.Body>
        </Table>
    );
}

function State({ input, health }: { input: Input; health: Health | undefined }): ReactNode {
    if (input.isDisabled) return <Chip>Disabled</Chip>;
    if (health?.problem) return <Chip appearance="error">Error</Chip>;
    if (health?.lastRun === undefined) return <Chip appearance="info">Not run yet</Chip>;
    return <Chip appearance="success">Running</Chip>;
}

interface DialogProps {
    input: Input;
    onDone: () => void;
    onCancel: () => void;
    opener: React.MutableRefObject<HTMLElement | null>;
}

function Delete({ input, onDone, onCancel, opener }: DialogProps): ReactNode {
    const { isBusy, error, run } = useAction();
    return (
        <Modal open returnFocus={opener} onRequestClose={onCancel} style={{ width: 520 }} aria-label={`Delete ${input.name}`}>
            <Modal.Header title={`Delete ${input.name}?`} />
            <Modal.Body>
                <Note>
                    The input <Mono>{fullName(input.kind, input.name)}</Mono> stops for good.
                    {input.kind === 'ds_monitor' ? ' Its key and passwords are deleted from secure storage too: Docusign does not show the key again.' : ''}{' '}
                    What it has collected stays.
                </Note>
                <Problem error={error} />
            </Modal.Body>
            <Modal.Footer>
                <Button label="Cancel" disabled={isBusy} onClick={onCancel} />
                <Button
                    appearance="destructive"
                    label="Delete"
                    disabled={isBusy}
                    onClick={() => {
                        void run(() => deleteInput(input)).then((isDone) => {
                            if (isDone) onDone();
                        });
                    }}
                />
            </Modal.Footer>
        </Modal>
    );
}

function Rotate({ input, onDone, onCancel, opener }: DialogProps): ReactNode {
    const { isBusy, error, run } = useAction();
    const [key, setKey] = useState(NO_KEY);
    const save = (): Promise<unknown> =>
        saveInput({
            kind: input.kind,
            name: input.name,
            app: input.app,
            values: { ...input.values, private_key_path: key.from === 'path' ? key.path.trim() : '' },
            secrets: { private_key: key.from === 'text' ? key.text : '' },
            defaults: {},
        });
    const isMasked = input.values['private_key'] === MASK;
    return (
        <Modal open returnFocus={opener} onRequestClose={onCancel} style={{ width: 680 }} aria-label={`Rotate the key of ${input.name}`}>
            <Modal.Header title={`Rotate the key of ${input.name}`} />
            <Modal.Body>
                <Note>
                    Generate a second key pair for the same integration key on Docusign’s page Apps and Keys, and enter its private key here.
                    Docusign is asked; if it refuses the key, the {isMasked ? 'stored one' : 'old one'} stays. Afterwards delete the old pair at
                    Docusign.
                </Note>
                <Column>
                    <KeyField value={key} onChange={setKey} />
                </Column>
                {isBusy ? <Busy>Storing the key, then asking Docusign …</Busy> : <Problem error={error} />}
            </Modal.Body>
            <Modal.Footer>
                <Button label="Cancel" disabled={isBusy} onClick={onCancel} />
                <Button
                    appearance="primary"
                    label="Save and test"
                    disabled={isBusy || !isKeyUsable(key)}
                    onClick={() => {
                        void run(save).then((isDone) => {
                            if (isDone) onDone();
                        });
                    }}
                />
            </Modal.Footer>
        </Modal>
    );
}
