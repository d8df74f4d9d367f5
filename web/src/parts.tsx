/** Small parts that the screens share. */
import { type ReactNode, useCallback, useEffect, useId, useRef, useState } from 'react';
import Button from '@splunk/react-ui/Button';
import ControlGroup from '@splunk/react-ui/ControlGroup';
import DefinitionList from '@splunk/react-ui/DefinitionList';
import Heading from '@splunk/react-ui/Heading';
import Message from '@splunk/react-ui/Message';
import Select from '@splunk/react-ui/Select';
import Text from '@splunk/react-ui/Text';
import WaitSpinner from '@splunk/react-ui/WaitSpinner';
import styled from 'styled-components';
import { variables } from '@splunk/themes';

import { problemOf } from './checks';
import type { Argument } from './declaration';
import { sentenceOf } from './inputs';
import { RestError } from './splunk';

/** Wide enough for an address, narrow enough to be read. */
export const Column = styled.div`
    max-width: 880px;
`;

export const Row = styled.div`
    display: flex;
    flex-wrap: wrap;
    gap: 8px;
    align-items: center;
    margin: 16px 0;
`;

export const Note = styled.p`
    margin: 4px 0 12px;
    color: ${variables.contentColorDefault};
    line-height: 20px;
`;

/** Things one below the other. */
export const Stack = styled.div`
    display: flex;
    flex-direction: column;
    gap: 8px;
    align-items: flex-start;
`;

export const Mono = styled.code`
    font-family: ${variables.monoFontFamily};
    color: ${variables.contentColorActive};
    overflow-wrap: anywhere;
`;

/** Splunk's own is paler than can be read on white. */
export const Facts = styled(DefinitionList)`
    dt {
        color: ${variables.contentColorDefault};
    }
`;

const Boxed = styled(Mono)`
    display: block;
    margin-top: 12px;
    padding: 8px 12px;
    border: 1px solid ${variables.neutral200};
    border-radius: ${variables.borderRadius};
    background: ${variables.backgroundColorPage};
`;

export const Section = styled.section`
    margin: 0 0 24px;
`;

export function Title({ children, level = 2 }: { children: string; level?: 2 | 3 }): ReactNode {
    return (
        <Heading level={level} style={{ margin: level === 2 ? '8px 0 12px' : '16px 0 8px' }}>
            {children}
        </Heading>
    );
}

/** What went wrong, read out at once. */
export function Problem({ error, children }: { error: unknown; children?: ReactNode }): ReactNode {
    if (error === undefined || error === null) {
        return null;
    }
    const capability = error instanceof RestError ? error.capability : undefined;
    return (
        <div role="alert">
            <Message type="error" appearance="fill">
                <span data-test="problem">{sentenceOf(error)}</span>
                {capability === undefined ? null : (
                    <>
                        {' '}
                        Ask an administrator of Splunk for the capability <Mono>{capability}</Mono>.
                    </>
                )}
                {children}
            </Message>
        </div>
    );
}

export function Busy({ children }: { children: string }): ReactNode {
    return (
        <Row role="status">
            <WaitSpinner size="medium" /> <span>{children}</span>
        </Row>
    );
}

export interface Loaded<T> {
    data?: T;
    error?: unknown;
    isLoading: boolean;
    reload: () => Promise<void>;
}

/** Asks once, and again on `reload`; an answer that has come stays while the next is asked for. */
export function useLoad<T>(load: () => Promise<T>): Loaded<T> {
    const [state, setState] = useState<{ data?: T; error?: unknown; isLoading: boolean }>({ isLoading: true });
    const isAlive = useRef(true);
    const reload = useCallback(async () => {
        try {
            const data = await load();
            if (isAlive.current) setState({ data, isLoading: false });
        } catch (error) {
            if (isAlive.current) setState((before) => ({ ...before, error, isLoading: false }));
        }
    }, [load]);
    useEffect(() => {
        isAlive.current = true;
        void reload();
        return () => {
            isAlive.current = false;
        };
    }, [reload]);
    return { ...state, reload };
}

/** Runs something that a person asked for, once at a time, and keeps what went wrong. */
export function useAction(): { isBusy: boolean; error: unknown; run: (action: () => Promise<unknown>) => Promise<boolean> } {
    const [isBusy, setBusy] = useState(false);
    const [error, setError] = useState<unknown>();
    const run = useCallback(async (action: () => Promise<unknown>) => {
        setBusy(true);
        setError(undefined);
        try {
            await action();
            return true;
        } catch (problem) {
            setError(problem);
            return false;
        } finally {
            setBusy(false);
        }
    }, []);
    return { isBusy, error, run };
}

interface FieldProps {
    argument: Argument;
    value: string;
    onChange: (value: string) => void;
    /** Beside those of the declaration. */
    options?: string[];
}

/** The field of an argument that is no secret, with the texts of the declaration. */
export function ArgumentField({ argument, value, onChange, options }: FieldProps): ReactNode {
    const problem = problemOf(argument.name, value);
    const help =
        argument.default === null || argument.description.includes('Default')
            ? argument.description
            : `${argument.description} Default: ${argument.default}.`;
    const choices = options?.map((option) => ({ value: option, label: option })) ?? argument.options;
    return (
        <ControlGroup
            label={argument.title}
            labelPosition="top"
            required={argument.required}
            help={help}
            error={problem ?? false}
        >
            {choices.length > 0 ? (
                <Select
                    value={value || (argument.default ?? '')}
                    onChange={(_, { value: chosen }) => {
                        onChange(String(chosen));
                    }}
                    error={problem !== undefined}
                >
                    {choices.map((choice) => (
                        <Select.Option key={choice.value} value={choice.value} label={choice.label} />
                    ))}
                </Select>
            ) : (
                <Text
                    name={argument.name}
                    value={value}
                    spellCheck={false}
                    autoComplete="off"
                    error={problem !== undefined}
                    onChange={(_, { value: typed }) => {
                        onChange(typed);
                    }}
                />
            )}
        </ControlGroup>
    );
}

/** A text that somebody takes along to another page. */
export function Copyable({ text, label, openAs }: { text: string; label: string; openAs?: string }): ReactNode {
    const id = useId();
    const [said, setSaid] = useState('');
    const copy = async (): Promise<void> => {
        setSaid((await copyText(text)) ? 'Copied.' : 'The browser does not let the page copy: select the text instead.');
    };
    return (
        <div>
            <Boxed id={id} aria-label={label} role="note">
                {text}
            </Boxed>
            <Row>
                <Button
                    label="Copy"
                    aria-describedby={id}
                    onClick={() => {
                        void copy();
                    }}
                />
                {openAs === undefined ? null : <Button label={openAs} to={text} openInNewContext />}
                <span role="status">{said}</span>
            </Row>
        </div>
    );
}

/** Browsers offer the clipboard to pages over https alone, and many a Splunk Web has none. */
async function copyText(text: string): Promise<boolean> {
    try {
        await navigator.clipboard.writeText(text);
        return true;
    } catch {
        const area = document.createElement('textarea');
        area.value = text;
        document.body.append(area);
        area.select();
        // Deprecated, and the only way without https.
        const isCopied = document.execCommand('copy');
        area.remove();
        return isCopied;
    }
}
