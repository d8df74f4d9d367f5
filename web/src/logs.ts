/** What the inputs do, as the app's log and events say it. The searches stand in `spl.json`, where `tests/it/web.rs` reads them too. */
import { fullName, type Input } from './inputs';
import { search } from './splunk';
import spl from './spl.json';

export interface LogLine {
    fields: Map<string, string>;
    sentence: string;
}

/** Takes `LEVEL key=value … Sentence.` apart. */
export function parseLine(line: string): LogLine {
    const fields = new Map<string, string>();
    let rest = line.replace(/^[A-Z]+ /, '');
    for (;;) {
        const match = /^([a-z0-9_]+)=(?:"((?:[^"\\]|\\.)*)"|(\S*)) ?/.exec(rest);
        if (!match) {
            return { fields, sentence: rest };
        }
        fields.set(match[1] ?? '', match[2]?.replace(/\\(.)/g, '$1') ?? match[3] ?? '');
        rest = rest.slice(match[0].length);
    }
}

export interface Health {
    /** When the last run ended well, in seconds since 1970. */
    lastRun?: number;
    records?: number;
    /** Seconds that the newest record of the last run was old. */
    lag?: number;
    position?: string;
    member?: string;
    /** The last problem, unless a good run has followed. */
    problem?: { at: number; sentence: string };
}

const seconds = (value: unknown): number => Number(value ?? 0);

/** By full name of the input. */
export async function healthOfInputs(): Promise<Map<string, Health>> {
    const found = new Map<string, Health>();
    const problems = new Map<string, { at: number; sentence: string }>();
    for (const row of await search(spl.lines, '-24h')) {
        const input = String(row['input']);
        const health = found.get(input) ?? {};
        found.set(input, health);
        const at = seconds(row['time']);
        const line = parseLine(String(row['line']));
        const number = (key: string): number | undefined => {
            const value = line.fields.get(key);
            return value === undefined ? undefined : Number(value);
        };
        switch (row['group']) {
            case 'problem':
                problems.set(input, { at, sentence: line.sentence });
                break;
            case 'run': {
                health.lastRun = at;
                health.member = String(row['host']);
                const [records, lag] = [number('n_events'), number('lag_s')];
                if (records !== undefined) health.records = records;
                if (lag !== undefined) health.lag = lag;
                break;
            }
            default:
                health.position = line.fields.get('cursor_to') ?? '';
        }
    }
    for (const [input, problem] of problems) {
        const health = found.get(input);
        if (health && (health.lastRun ?? 0) < problem.at) {
            health.problem = problem;
        }
    }
    return found;
}

export interface FirstEvent {
    time: string;
    what: string;
    who: string;
    where: string;
}

/** The newest events of an input. */
export async function newestEvents(input: Input): Promise<FirstEvent[]> {
    const index = input.values['index'];
    const where = index && index !== 'default' ? `index="${quoted(index)}"` : 'index=*';
    const source = quoted(fullName(input.kind, input.name));
    const query = spl.events.replace('$index$', () => where).replace('$source$', () => source);
    const rows = await search(query, '0');
    return rows.map((row) => {
        let record: Record<string, unknown> = {};
        try {
            record = JSON.parse(String(row['_raw'])) as Record<string, unknown>;
        } catch {
            // The event is shown by its time alone.
        }
        const say = (key: string): string => (typeof record[key] === 'string' ? record[key] : '');
        return {
            time: String(row['_time']),
            what: [say('object'), say('action'), say('result')].filter(Boolean).join(' '),
            who: say('userId'),
            where: [say('ipAddress'), say('city'), say('country')].filter(Boolean).join(', '),
        };
    });
}

const quoted = (text: string): string => text.replace(/[\\"]/g, '\\$&');

export interface Feed {
    index: string;
    source: string;
    host: string;
    count: number;
    newest: number;
}

/** Where events of the last week are, from inputs here and elsewhere. */
export async function feeds(): Promise<Feed[]> {
    const rows = await search(spl.feeds, '-7d');
    return rows.map((row) => ({
        index: String(row['index']),
        source: String(row['source']),
        host: String(row['host']),
        count: seconds(row['count']),
        newest: seconds(row['newest']),
    }));
}

export interface Lookup {
    lookup: string;
    rows: number;
    refreshed: string;
}

/** How many rows the lookups of names have, and when they were last seen. */
export async function lookups(): Promise<Lookup[]> {
    const rows = await search(spl.lookups, '-1h');
    return rows.map((row) => ({
        lookup: String(row['lookup']),
        rows: seconds(row['rows']),
        refreshed: String(row['refreshed'] ?? ''),
    }));
}

/** A time in seconds since 1970, the way a person says it. */
export function ago(time: number | undefined, now = Date.now() / 1000): string {
    if (time === undefined) {
        return '';
    }
    return `${duration(Math.max(0, now - time))} ago`;
}

export function duration(seconds: number | undefined): string {
    if (seconds === undefined) {
        return '';
    }
    const steps: [number, string][] = [
        [86_400, 'day'],
        [3600, 'hour'],
        [60, 'minute'],
        [1, 'second'],
    ];
    const [size, unit] = steps.find(([size]) => seconds >= size) ?? [1, 'second'];
    const count = Math.floor(seconds / size);
    return `${String(count)} ${unit}${count === 1 ? '' : 's'}`;
}
