/** The private key: pasted, dropped or chosen as a file, or named by its path on the server. */
import { type DragEvent, type ReactNode, useRef, useState } from 'react';
import Button from '@splunk/react-ui/Button';
import ControlGroup from '@splunk/react-ui/ControlGroup';
import Message from '@splunk/react-ui/Message';
import RadioList from '@splunk/react-ui/RadioList';
import TextArea from '@splunk/react-ui/TextArea';
import styled from 'styled-components';
import { variables } from '@splunk/themes';

import { argumentOf } from './declaration';
import { readKey, readKeyFile } from './keys';
import { ArgumentField, Row, Stack } from './parts';

/** A key is some kilobytes; anything larger is another file. */
const MAX_FILE_BYTES = 64 * 1024;

const DropArea = styled.div<{ $isOver: boolean }>`
    outline: ${({ $isOver }) => ($isOver ? '2px dashed' : 'none')};
    outline-color: ${variables.interactiveColorPrimary};
    outline-offset: 4px;
`;

export interface KeyValue {
    from: 'text' | 'path';
    text: string;
    path: string;
}

export const NO_KEY: KeyValue = { from: 'text', text: '', path: '' };

/** Whether this can be sent; the program reads a file that is named. */
export const isKeyUsable = (key: KeyValue): boolean =>
    key.from === 'path' ? key.path.trim().startsWith('/') || /^[A-Za-z]:\\/.test(key.path.trim()) : readKey(key.text).kind === 'rsa';

export function KeyField({ value, onChange }: { value: KeyValue; onChange: (value: KeyValue) => void }): ReactNode {
    const argument = argumentOf('ds_monitor', 'private_key');
    return (
        <>
            <ControlGroup label="Where the key is" labelPosition="top">
                <RadioList
                    value={value.from}
                    onChange={(_, { value: from }) => {
                        onChange({ ...value, from: from as KeyValue['from'] });
                    }}
                >
                    <RadioList.Option value="text">Paste it here, or choose its file</RadioList.Option>
                    <RadioList.Option value="path">In a file on the Splunk server, for those who manage secrets on disk</RadioList.Option>
                </RadioList>
            </ControlGroup>
            {value.from === 'path' ? (
                <ArgumentField
                    argument={argumentOf('ds_monitor', 'private_key_path')}
                    value={value.path}
                    onChange={(path) => {
                        onChange({ ...value, path });
                    }}
                />
            ) : (
                <PastedKey
                    label={argument.title}
                    text={value.text}
                    onChange={(text) => {
                        onChange({ ...value, text });
                    }}
                />
            )}
        </>
    );
}

function PastedKey({ label, text, onChange }: { label: string; text: string; onChange: (text: string) => void }): ReactNode {
    const [isOver, setOver] = useState(false);
    const [fileProblem, setFileProblem] = useState('');
    const chooser = useRef<HTMLInputElement>(null);
    const reading = readKey(text);

    const take = async (file: File | undefined): Promise<void> => {
        setFileProblem('');
        if (!file) return;
        if (file.size > MAX_FILE_BYTES) {
            setFileProblem('This file is too large to be a key.');
            return;
        }
        const read = readKeyFile(new Uint8Array(await file.arrayBuffer()));
        if ('text' in read) {
            onChange(read.text);
        } else {
            setFileProblem(read.sentence);
        }
    };
    const drop = (event: DragEvent): void => {
        setOver(false);
        if (event.dataTransfer.files.length > 0) {
            event.preventDefault();
            void take(event.dataTransfer.files[0]);
        }
    };

    if (reading.kind === 'rsa') {
        // Nobody needs to see it any more, least of all who looks over a shoulder.
        return (
            <ControlGroup label={label} labelPosition="top" controlsLayout="none">
                <Stack>
                <div role="status">
                    <Message type="success" appearance="fill">
                        <span data-test="key-kind">{reading.sentence}</span> It is sent to Splunk’s secure storage and nowhere else.
                    </Message>
                </div>
                <Button
                    label="Enter another key"
                    onClick={() => {
                        onChange('');
                    }}
                />
                </Stack>
            </ControlGroup>
        );
    }
    const problem = text.trim() === '' ? fileProblem : reading.sentence;
    return (
        <DropArea
            $isOver={isOver}
            onDragOver={(event) => {
                event.preventDefault();
                setOver(true);
            }}
            onDragLeave={() => {
                setOver(false);
            }}
            onDrop={drop}
        >
            <ControlGroup
                label={label}
                labelPosition="top"
                error={problem === '' ? false : problem}
                help="From BEGIN to END, in any form: lost line breaks, quotes and blanks do no harm. You can drop the file here."
            >
                <TextArea
                    value={text}
                    rowsMin={6}
                    rowsMax={6}
                    spellCheck={false}
                    autoComplete="off"
                    error={problem !== ''}
                    onChange={(_, { value }) => {
                        setFileProblem('');
                        onChange(value);
                    }}
                />
            </ControlGroup>
            <Row>
                <input
                    ref={chooser}
                    type="file"
                    hidden
                    aria-label="File with the private key"
                    onChange={(event) => {
                        void take(event.target.files?.[0]);
                        event.target.value = '';
                    }}
                />
                <Button label="Choose a file" onClick={() => chooser.current?.click()} />
            </Row>
        </DropArea>
    );
}
