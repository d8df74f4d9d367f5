/** What makes the data useful: names for GUIDs, the macro for the index, detections and health alerts. */
import { type ReactNode, useCallback, useState } from 'react';
import Button from '@splunk/react-ui/Button';
import ControlGroup from '@splunk/react-ui/ControlGroup';
import Select from '@splunk/react-ui/Select';
import Switch from '@splunk/react-ui/Switch';
import Text from '@splunk/react-ui/Text';
import { variables } from '@splunk/themes';
import styled from 'styled-components';

import { emailProblem } from './checks';
import { defaultsOf, enable, listInputs, saveInput } from './inputs';
import { Busy, Column, Mono, Note, Problem, Row, Section, Title, useAction, useLoad } from './parts';
import { EVERY_INDEX, indexMacro, type SavedSearch, savedSearches, setIndexMacro, switchSearch } from './searches';
import type { Me } from './splunk';

const Explained = styled.div`
    margin: 0 0 12px 48px;
    line-height: 20px;

    summary {
        cursor: pointer;
        color: ${variables.contentColorActive};
        text-decoration: underline;
    }
`;

interface Props {
    me: Me;
    /** The index and the name of an input that has just been saved. */
    index?: string | undefined;
    monitorInput?: string | undefined;
}

export function Alerts({ me, index, monitorInput }: Props): ReactNode {
    const searches = useLoad(savedSearches);
    const [recipient, setRecipient] = useState<string>();
    const groups = searches.data;
    const known = [...(groups?.health ?? []), ...(groups?.detections ?? [])].map((one) => one.recipient).find(Boolean) ?? '';
    const address = recipient ?? known;
    const problem = emailProblem(address);
    return (
        <Column>
            <Macro index={index} />
            <Names me={me} monitorInput={monitorInput} searches={groups?.refreshes ?? []} reload={searches.reload} />
            <Problem error={searches.error} />
            {groups === undefined && searches.error === undefined ? <Busy>Reading the searches of the app …</Busy> : null}
            {groups === undefined ? null : (
                <>
                    <Section>
                        <Title>Alerts</Title>
                        <ControlGroup
                            label="Send results to"
                            labelPosition="top"
                            error={problem ?? false}
                            help={'One e-mail address or several, for all alerts below. Without one, results appear under Activity > Triggered Alerts.'}
                        >
                            <Text
                                value={address}
                                type="email"
                                error={problem !== undefined}
                                onChange={(_, { value }) => {
                                    setRecipient(value);
                                }}
                            />
                        </ControlGroup>
                    </Section>
                    <Group
                        title="Health alerts"
                        note="They tell when collecting itself is in trouble. Switch all of them on."
                        searches={groups.health}
                        recipient={address}
                        isReady={problem === undefined}
                        reload={searches.reload}
                    />
                    <Group
                        title="Detections"
                        note="What somebody should look at. Some need to be fitted to your organization: look at a day of results before you send them to many people."
                        searches={groups.detections}
                        recipient={address}
                        isReady={problem === undefined}
                        reload={searches.reload}
                    />
                </>
            )}
        </Column>
    );
}

function Macro({ index }: { index?: string | undefined }): ReactNode {
    const loaded = useLoad(indexMacro);
    const { isBusy, error, run } = useAction();
    const wanted = index && index !== 'default' ? `index=${/^[\w-]+$/.test(index) ? index : `"${index}"`}` : '';
    const [typed, setTyped] = useState<string>();
    const stored = loaded.data ?? '';
    const value = typed ?? (stored === EVERY_INDEX && wanted !== '' ? wanted : stored);
    return (
        <Section>
            <Title>Where the searches look</Title>
            <Problem error={loaded.error ?? error} />
            <ControlGroup
                label="Macro ds_monitor_index"
                labelPosition="top"
                help={`Every search of the app begins with it. The index of your inputs, for example index=docusign, makes them faster than ${EVERY_INDEX}.`}
            >
                <Text
                    value={value}
                    spellCheck={false}
                    disabled={loaded.data === undefined}
                    onChange={(_, { value: changed }) => {
                        setTyped(changed);
                    }}
                />
            </ControlGroup>
            <Row>
                <Button
                    label="Save the macro"
                    disabled={isBusy || value.trim() === '' || value === stored}
                    onClick={() => {
                        void run(async () => {
                            await setIndexMacro(value.trim());
                            await loaded.reload();
                            setTyped(undefined);
                        });
                    }}
                />
                <span role="status">{loaded.data !== undefined && value === stored ? <>Now: <Mono>{stored}</Mono></> : null}</span>
            </Row>
        </Section>
    );
}

interface NamesProps {
    me: Me;
    monitorInput?: string | undefined;
    searches: SavedSearch[];
    reload: () => Promise<void>;
}

/** Files of lookups are seen by nobody where searches run elsewhere; events are. */
export const outputFor = (me: Me): 'csv' | 'index' =>
    me.isCloud || me.roles.some((role) => /shc_|cluster|heavyweight|universal|lightweight/.test(role)) ? 'index' : 'csv';

function Names({ me, monitorInput, searches, reload }: NamesProps): ReactNode {
    const inputs = useLoad(
        useCallback(async () => {
            const [monitors, lookups] = await Promise.all([listInputs('ds_monitor'), listInputs('ds_lookups')]);
            return { monitors: monitors.inputs, lookups: lookups.inputs };
        }, []),
    );
    const { isBusy, error, run } = useAction();
    const [chosen, setChosen] = useState<string>();
    const monitors = inputs.data?.monitors ?? [];
    const source = chosen ?? monitorInput ?? monitors[0]?.name;
    const existing = inputs.data?.lookups.find((input) => input.values['monitor_input'] === source);
    const isOn = existing !== undefined && !existing.isDisabled;
    const output = existing?.values['output'] || outputFor(me);
    const toggle = async (): Promise<void> => {
        if (existing) {
            await enable(existing, !isOn);
        } else if (source !== undefined) {
            const defaults = await defaultsOf('ds_lookups');
            const values = { ...defaults, monitor_input: source, output, index: monitors.find((one) => one.name === source)?.values['index'] ?? '' };
            await saveInput({ kind: 'ds_lookups', name: source, values, secrets: {}, defaults });
        }
        // Rows that come as events are made into lookups by these two.
        if (output === 'index') {
            for (const search of searches) {
                await switchSearch(search, !isOn);
            }
        }
        await Promise.all([inputs.reload(), reload()]);
    };
    return (
        <Section>
            <Title>Names for users and accounts</Title>
            <Note>
                Events name users and accounts by GUIDs, and permission profiles and groups by numbers. Once a day the lookups are filled with their names, with the key of the input;
                the user’s consent must cover it.
            </Note>
            <Problem error={error ?? inputs.error} />
            {monitors.length > 1 ? (
                <ControlGroup label="Input" labelPosition="top">
                    <Select
                        value={source ?? ''}
                        onChange={(_, { value }) => {
                            setChosen(String(value));
                        }}
                    >
                        {monitors.map((input) => (
                            <Select.Option key={input.name} value={input.name} label={input.name} />
                        ))}
                    </Select>
                </ControlGroup>
            ) : null}
            {inputs.data !== undefined && source === undefined ? (
                <Note>There is no input on this instance yet. If it is elsewhere, set up the lookups there.</Note>
            ) : (
                <Switch
                    appearance="toggle"
                    selected={isOn}
                    disabled={isBusy || inputs.data === undefined}
                    onClick={() => {
                        void run(toggle);
                    }}
                >
                    {`Fill the lookups once a day, ${output === 'csv' ? 'as files on this instance' : 'by events for the search heads'}`}
                </Switch>
            )}
        </Section>
    );
}

/** The first sentence says what it finds; the rest is for who wants to know. */
function Description({ text }: { text: string }): ReactNode {
    const end = text.indexOf('. ') + 1;
    const [first, rest] = end > 0 ? [text.slice(0, end), text.slice(end + 1)] : [text, ''];
    return (
        <Explained>
            {first}
            {rest === '' ? null : (
                <details>
                    <summary>More</summary>
                    {rest}
                </details>
            )}
        </Explained>
    );
}

interface GroupProps {
    title: string;
    note: string;
    searches: SavedSearch[];
    recipient: string;
    isReady: boolean;
    reload: () => Promise<void>;
}

function Group({ title, note, searches, recipient, isReady, reload }: GroupProps): ReactNode {
    const { isBusy, error, run } = useAction();
    const on = searches.filter((search) => search.isOn);
    const change = (which: SavedSearch[], isOn: boolean): void => {
        void run(async () => {
            try {
                for (const search of which) {
                    await switchSearch(search, isOn, isOn ? recipient.trim() : undefined);
                }
            } finally {
                await reload();
            }
        });
    };
    const isStale = on.some((search) => search.recipient !== recipient.trim());
    return (
        <Section>
            <Title level={3}>{`${title} (${String(on.length)} of ${String(searches.length)} on)`}</Title>
            <Note>{note}</Note>
            <Problem error={error} />
            <Row>
                <Button
                    label={`Switch all ${title.toLowerCase()} on`}
                    disabled={isBusy || !isReady || on.length === searches.length}
                    onClick={() => {
                        change(searches.filter((search) => !search.isOn), true);
                    }}
                />
                <Button
                    label={`Switch all ${title.toLowerCase()} off`}
                    disabled={isBusy || on.length === 0}
                    onClick={() => {
                        change(on, false);
                    }}
                />
                {isStale ? (
                    <Button
                        label="Use the new recipient"
                        aria-label={`Use the new recipient for ${title.toLowerCase()}`}
                        disabled={isBusy || !isReady}
                        onClick={() => {
                            change(on, true);
                        }}
                    />
                ) : null}
            </Row>
            {searches.map((search) => (
                <div key={search.name}>
                    <Switch
                        appearance="toggle"
                        selected={search.isOn}
                        disabled={isBusy || (!isReady && !search.isOn)}
                        onClick={() => {
                            change([search], !search.isOn);
                        }}
                    >
                        {search.label}
                    </Switch>
                    <Description text={search.description} />
                </div>
            ))}
        </Section>
    );
}
