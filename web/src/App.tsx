/** The page: who is here, whether the session lives, and its four parts. */
import { type Dispatch, type ReactNode, type SetStateAction, useCallback, useEffect, useState } from 'react';
import Button from '@splunk/react-ui/Button';
import Heading from '@splunk/react-ui/Heading';
import Link from '@splunk/react-ui/Link';
import Message from '@splunk/react-ui/Message';
import TabLayout from '@splunk/react-ui/TabLayout';
import styled from 'styled-components';
import { variables } from '@splunk/themes';

import { Alerts } from './Alerts';
import { Checklist, missingCapabilities } from './Checklist';
import { type Draft, FirstSteps, NEW_DRAFT } from './FirstSteps';
import { Inputs } from './InputsTable';
import { listInputs } from './inputs';
import { Busy, Column, Mono, Problem, useLoad } from './parts';
import { loginAddress, type Me, watchSession, whoAmI } from './splunk';

const Page = styled.div`
    box-sizing: border-box;
    min-height: 100vh;
    padding: 16px 24px 48px;
    background: ${variables.backgroundColorSection};
    color: ${variables.contentColorDefault};
    font-family: ${variables.sansFontFamily};
    font-size: ${variables.fontSize};
    line-height: ${variables.lineHeight};
`;

type Tab = 'first' | 'inputs' | 'alerts' | 'checklist';

/** Where it is best to begin: at the beginning without inputs, else at the inputs; without rights at the checklist. */
async function begin(): Promise<{ me: Me; tab: Tab }> {
    const me = await whoAmI();
    try {
        const { inputs, mayCreate } = await listInputs('ds_monitor');
        const empty = mayCreate ? 'first' : 'checklist';
        return { me, tab: inputs.length > 0 ? 'inputs' : empty };
    } catch {
        return { me, tab: 'checklist' };
    }
}

export function App(): ReactNode {
    const start = useLoad(useCallback(begin, []));
    const [hasEnded, setEnded] = useState(false);
    const [tab, setTab] = useState<Tab>();
    const [draft, setDraft] = useState(NEW_DRAFT);
    useEffect(() => {
        watchSession(setEnded);
        // Who comes back from logging in elsewhere finds the page alive again.
        const look = (): void => {
            void whoAmI().catch(() => undefined);
        };
        window.addEventListener('focus', look);
        return () => {
            window.removeEventListener('focus', look);
        };
    }, []);
    // A key that is not saved yet is lost with the page, and so is the rest.
    useEffect(() => {
        const isAtRisk = draft.key.text !== '';
        const warn = (event: BeforeUnloadEvent): void => {
            event.preventDefault();
        };
        if (isAtRisk) window.addEventListener('beforeunload', warn);
        return () => {
            window.removeEventListener('beforeunload', warn);
        };
    }, [draft.key.text]);

    return (
        <Page>
            <Heading level={1} style={{ margin: '0 0 12px' }}>Set up Docusign Monitor</Heading>
            {hasEnded ? <Ended onAgain={() => void start.reload()} /> : null}
            {start.data === undefined ? (
                <>
                    {start.isLoading ? <Busy>One moment …</Busy> : null}
                    {hasEnded ? null : <Problem error={start.error} />}
                </>
            ) : (
                <Parts me={start.data.me} tab={tab ?? start.data.tab} setTab={setTab} draft={draft} setDraft={setDraft} />
            )}
        </Page>
    );
}

interface PartsProps {
    me: Me;
    tab: Tab;
    setTab: (tab: Tab) => void;
    draft: Draft;
    setDraft: Dispatch<SetStateAction<Draft>>;
}

function Parts({ me, tab, setTab, draft, setDraft }: PartsProps): ReactNode {
    return (
        <>
            <Rights me={me} />
            <TabLayout
                activePanelId={tab}
                onChange={(_, { activePanelId }) => {
                    setTab(activePanelId as Tab);
                }}
            >
                <TabLayout.Panel panelId="first" label="First steps" inset>
                    <FirstSteps me={me} draft={draft} onDraft={setDraft} />
                </TabLayout.Panel>
                <TabLayout.Panel panelId="inputs" label="Inputs" inset>
                    <Inputs
                        onFirstSteps={() => {
                            setDraft((before) => (before.saved ? { ...NEW_DRAFT, name: '' } : before));
                            setTab('first');
                        }}
                    />
                </TabLayout.Panel>
                <TabLayout.Panel panelId="alerts" label="Names and alerts" inset>
                    <Alerts me={me} />
                </TabLayout.Panel>
                <TabLayout.Panel panelId="checklist" label="Checklist" inset>
                    <Checklist me={me} onGo={setTab} />
                </TabLayout.Panel>
            </TabLayout>
        </>
    );
}

function Rights({ me }: { me: Me }): ReactNode {
    const missing = missingCapabilities(me);
    if (missing.length === 0) return null;
    return (
        <Column>
            <Message type="warning" appearance="fill">
                You may not have all the rights that this page needs. Missing:{' '}
                {missing.map(({ any }, at) => (
                    <span key={any[0]}>
                        {at === 0 ? '' : ', '}
                        <Mono>{any[0]}</Mono>
                    </span>
                ))}
                . Splunk has the last word; the Checklist says what each is for.
            </Message>
        </Column>
    );
}

function Ended({ onAgain }: { onAgain: () => void }): ReactNode {
    return (
        <div role="alert" data-test="session-ended">
            <Column>
                <Message type="warning" appearance="fill">
                    Your session has ended. Nothing that you entered is lost:{' '}
                    <Link to={loginAddress()} openInNewContext>
                        log in in another tab
                    </Link>
                    , come back here and repeat what you did. <Button label="I have logged in" onClick={onAgain} />
                </Message>
            </Column>
        </div>
    );
}
