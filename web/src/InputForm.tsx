/** Every argument of one input, in the groups of the declaration: to edit it, to clone it, or for a new one. */
import { type ReactNode, useCallback, useEffect, useRef, useState } from 'react';
import Button from '@splunk/react-ui/Button';
import ControlGroup from '@splunk/react-ui/ControlGroup';
import Message from '@splunk/react-ui/Message';
import Text from '@splunk/react-ui/Text';

import { problemOf } from './checks';
import { type Argument, argumentsOf, type Kind, MASK, secretsOf } from './declaration';
import { IndexField, IntervalField, NameField } from './FirstSteps';
import { defaultsOf, fullName, GOES_TO, type Input, saveInput } from './inputs';
import { isKeyUsable, KeyField, type KeyValue, NO_KEY } from './KeyField';
import { ArgumentField, Busy, Column, Mono, Note, Problem, Row, Section, Title, useAction, useLoad } from './parts';
import { indexes } from './searches';
import type { Form } from './splunk';

interface Props {
    kind: Kind;
    /** The input that is edited or cloned; none for a new one. */
    input: Input | undefined;
    isClone: boolean;
    /** Names that `monitor_input` may have. */
    monitors: string[];
    onDone: () => void;
    onCancel: () => void;
}

export function InputForm({ kind, input, isClone, monitors, onDone, onCancel }: Props): ReactNode {
    const isNew = input === undefined || isClone;
    const defaults = useLoad(useCallback(() => defaultsOf(kind), [kind]));
    const known = useLoad(indexes);
    const [name, setName] = useState('');
    const [changes, setChanges] = useState<Form>({});
    const [secrets, setSecrets] = useState<Form>({});
    const [key, setKey] = useState<KeyValue>();
    const { isBusy, error, run } = useAction();
    const top = useRef<HTMLDivElement>(null);
    useEffect(() => top.current?.focus(), []);

    const before = input?.values ?? defaults.data ?? {};
    const values: Form = { ...before, ...changes };
    if (key?.from === 'path') values['private_key_path'] = key.path;
    if (key?.from === 'text') values['private_key_path'] = '';
    const set = (param: string, value: string): void => {
        setChanges((all) => ({ ...all, [param]: value }));
    };

    const isStored = (secret: string): boolean => before[secret] === MASK;
    const mustEnter = (secret: string): boolean => {
        const to = GOES_TO[secret];
        return to !== undefined && isStored(secret) && values[to] !== '' && values[to] !== before[to];
    };
    const missing = secretsOf(kind).filter((secret) => mustEnter(secret) && !secrets[secret]);
    const problems = argumentsOf(kind).filter(
        (argument) =>
            !argument.secret &&
            (problemOf(argument.name, values[argument.name] ?? '') !== undefined ||
                (argument.required && !(values[argument.name] ?? '').trim())),
    );
    const nameProblem = problemOf('name', name);
    const isReady =
        missing.length === 0 &&
        problems.length === 0 &&
        problemOf('interval', values['interval'] ?? '') === undefined &&
        (!isNew || (name !== '' && nameProblem === undefined)) &&
        (key === undefined || isKeyUsable(key));

    const save = (): Promise<void> => {
        const changed: Form = { ...secrets };
        if (key !== undefined) changed['private_key'] = key.from === 'text' ? key.text : '';
        // A secret whose address is gone is not needed any more.
        for (const secret of secretsOf(kind)) {
            const to = GOES_TO[secret];
            if (to !== undefined && (isStored(secret) || secrets[secret]) && values[to]?.trim() === '') changed[secret] = '';
        }
        const trimmed = Object.fromEntries(Object.entries(values).map(([param, value]) => [param, value.trim()]));
        return saveInput({
            kind,
            name: isNew ? name : input.name,
            app: isNew ? undefined : input.app,
            values: trimmed,
            secrets: changed,
            cloneOf: isClone && secretsOf(kind).some(isStored) ? input?.name : undefined,
            defaults: defaults.data ?? {},
        });
    };

    const groups = [...new Set(argumentsOf(kind).map((argument) => argument.group))];
    const field = (argument: Argument): ReactNode => {
        if (argument.name === 'private_key') {
            return <StoredKey key="private_key" before={before} value={key} onChange={setKey} />;
        }
        if (argument.name === 'private_key_path') {
            return null;
        }
        if (argument.secret) {
            return (
                <SecretField
                    key={argument.name}
                    argument={argument}
                    isStored={isStored(argument.name)}
                    mustEnter={mustEnter(argument.name)}
                    value={secrets[argument.name]}
                    onChange={(value) => {
                        setSecrets((all) => {
                            const others = Object.entries(all).filter(([name]) => name !== argument.name);
                            return Object.fromEntries(value === undefined ? others : [...others, [argument.name, value]]);
                        });
                    }}
                />
            );
        }
        return (
            <ArgumentField
                key={argument.name}
                argument={argument}
                value={values[argument.name] ?? ''}
                {...(argument.field === 'select_from' ? { options: monitors } : {})}
                onChange={(value) => {
                    set(argument.name, value);
                }}
            />
        );
    };
    const index = values['index'] ?? '';
    const title = input === undefined ? 'New lookups input' : `${isClone ? 'Clone' : 'Edit'} ${input.name}`;
    return (
        <Column ref={top} tabIndex={-1} style={{ outline: 'none' }}>
            <Title>{title}</Title>
            {isNew ? (
                <NameField value={name} onChange={setName} />
            ) : (
                <Note>
                    <Mono>{fullName(kind, input.name)}</Mono> keeps its name and its position.
                </Note>
            )}
            {groups.map((group) => (
                <Section key={group}>
                    <Title level={3}>{group}</Title>
                    {argumentsOf(kind)
                        .filter((argument) => argument.group === group)
                        .map(field)}
                </Section>
            ))}
            <Section>
                <Title level={3}>Schedule and index</Title>
                <IntervalField
                    value={values['interval'] ?? ''}
                    onChange={(value) => {
                        set('interval', value);
                    }}
                />
                {kind === 'ds_monitor' || values['output'] === 'index' ? (
                    <IndexField
                        known={known.data ?? []}
                        value={index}
                        isUnknown={known.data !== undefined && index !== '' && index !== 'default' && !known.data.includes(index)}
                        onChange={(value) => {
                            set('index', value);
                        }}
                    />
                ) : null}
            </Section>
            {isBusy ? <Busy>{kind === 'ds_monitor' ? 'Saving, and asking Docusign …' : 'Saving …'}</Busy> : <Problem error={error} />}
            <Row>
                <Button label="Cancel" disabled={isBusy} onClick={onCancel} />
                <Button
                    appearance="primary"
                    label={kind === 'ds_monitor' ? 'Save and test' : 'Save'}
                    disabled={isBusy || !isReady}
                    onClick={() => {
                        void run(save).then((isDone) => {
                            if (isDone) onDone();
                        });
                    }}
                />
            </Row>
        </Column>
    );
}

interface StoredKeyProps {
    before: Form;
    value: KeyValue | undefined;
    onChange: (value: KeyValue | undefined) => void;
}

/** The key that there is, until another is entered. */
function StoredKey({ before, value, onChange }: StoredKeyProps): ReactNode {
    const path = before['private_key_path'];
    if (value !== undefined) {
        return (
            <>
                <KeyField value={value} onChange={onChange} />
                <Button
                    label="Keep the key as it is"
                    onClick={() => {
                        onChange(undefined);
                    }}
                />
            </>
        );
    }
    return (
        <ControlGroup label="Private key" labelPosition="top" controlsLayout="none">
            <Note>{path ? `In the file ${path}.` : 'In secure storage.'}</Note>
            <Button
                label="Enter another key"
                onClick={() => {
                    onChange(path ? { ...NO_KEY, from: 'path', path } : NO_KEY);
                }}
            />
        </ControlGroup>
    );
}

interface SecretProps {
    argument: Argument;
    isStored: boolean;
    mustEnter: boolean;
    /** What was typed; nothing, if the secret stays as it is. */
    value: string | undefined;
    onChange: (value: string | undefined) => void;
}

function SecretField({ argument, isStored, mustEnter, value, onChange }: SecretProps): ReactNode {
    if (isStored && value === undefined && !mustEnter) {
        return (
            <ControlGroup label={argument.title} labelPosition="top" controlsLayout="none">
                <Note>In secure storage.</Note>
                <Button
                    label="Enter another"
                    aria-label={`Enter another: ${argument.title}`}
                    onClick={() => {
                        onChange('');
                    }}
                />
            </ControlGroup>
        );
    }
    return (
        <>
            {mustEnter ? (
                <Message type="warning" appearance="fill">
                    The address has changed, and the stored secret must not go there unseen: enter it again.
                </Message>
            ) : null}
            <ControlGroup label={argument.title} labelPosition="top" help={argument.description}>
                <Text
                    type="password"
                    autoComplete="new-password"
                    value={value ?? ''}
                    onChange={(_, { value: typed }) => {
                        onChange(typed === '' && !isStored ? undefined : typed);
                    }}
                />
            </ControlGroup>
        </>
    );
}
