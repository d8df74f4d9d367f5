/** The app's macro for its index, and its saved searches: detections, health alerts, and those that fill the lookups. */
import { type Entry, type Form, get, isOn, post, segment, text } from './splunk';

export const EVERY_INDEX = 'index=*';

const MACRO = 'configs/conf-macros/ds_monitor_index';

export async function indexMacro(): Promise<string> {
    return text((await get(MACRO)).entry[0], 'definition');
}

export const setIndexMacro = (definition: string): Promise<unknown> => post(MACRO, { definition });

export interface SavedSearch {
    name: string;
    /** Without the words that all of its group begin with. */
    label: string;
    description: string;
    isOn: boolean;
    recipient: string;
    actions: string[];
}

export interface SavedSearches {
    detections: SavedSearch[];
    health: SavedSearch[];
    refreshes: SavedSearch[];
}

const DETECTION = 'Docusign Detection - ';
const MONITOR = 'Docusign Monitor - ';

export async function savedSearches(): Promise<SavedSearches> {
    const { entry } = await get('saved/searches', { count: '0' });
    const ours = (prefix: string): SavedSearch[] =>
        entry.filter((one) => one.name.startsWith(prefix)).map((one) => savedSearch(one, prefix));
    // Those without a schedule are for a person to run.
    const scheduled = entry.filter((one) => isOn(one.content['enableSched'] ?? one.content['is_scheduled'])).map((one) => one.name);
    const monitor = ours(MONITOR).filter((one) => scheduled.includes(one.name));
    return {
        detections: ours(DETECTION),
        health: monitor.filter((one) => !one.label.startsWith('Refresh ')),
        refreshes: monitor.filter((one) => one.label.startsWith('Refresh ')),
    };
}

function savedSearch(entry: Entry, prefix: string): SavedSearch {
    return {
        name: entry.name,
        label: entry.name.slice(prefix.length),
        description: text(entry, 'description'),
        isOn: !isOn(entry.content['disabled']),
        recipient: text(entry, 'action.email.to'),
        actions: text(entry, 'actions').split(',').map((action) => action.trim()).filter(Boolean),
    };
}

/** Switches a search; with a recipient, its results are sent there too. */
export function switchSearch(search: SavedSearch, isOn: boolean, recipient?: string): Promise<unknown> {
    const form: Form = { disabled: isOn ? '0' : '1' };
    if (recipient !== undefined) {
        const others = search.actions.filter((action) => action !== 'email');
        form['actions'] = (recipient === '' ? others : [...others, 'email']).join(',');
        form['action.email'] = recipient === '' ? '0' : '1';
        form['action.email.to'] = recipient;
    }
    return post(`saved/searches/${segment(search.name)}`, form);
}

export async function indexes(): Promise<string[]> {
    const { entry } = await get('data/indexes', { count: '0', datatype: 'event' }, {});
    return entry
        .filter((one) => !isOn(one.content['isInternal']) && !isOn(one.content['disabled']) && !one.name.startsWith('_'))
        .map((one) => one.name)
        .filter((name) => !['history', 'summary', 'splunklogger'].includes(name));
}
