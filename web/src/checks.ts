/** What can be said about a field while it is typed in; the program has the last word when the input is saved. */

const GUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

export const isGuid = (text: string): boolean => GUID.test(text.trim());

const isGuidField = (name: string): boolean => ['integration_key', 'user_id', 'organization_id'].includes(name);

/** What is wrong with a value; nothing, if it may be right. */
export function problemOf(name: string, value: string): string | undefined {
    const text = value.trim();
    if (text === '') {
        return undefined;
    }
    if (isGuidField(name) && !isGuid(text)) {
        return text.includes('@')
            ? 'This is an e-mail address. Enter the GUID, for example 1b2c3d4e-0000-4abc-8def-0123456789ab.'
            : 'This is not a GUID. It looks like 1b2c3d4e-0000-4abc-8def-0123456789ab.';
    }
    switch (name) {
        case 'limit':
            return /^\d+$/.test(text) && Number(text) >= 1 && Number(text) <= 2000 ? undefined : 'Enter a whole number from 1 to 2000.';
        case 'interval':
            return isInterval(text) ? undefined : 'Enter whole seconds, at least 10, or a cron schedule of five fields.';
        case 'start_from':
            return startProblem(text);
        case 'name':
            return nameProblem(text);
        default:
            return undefined;
    }
}

const isInterval = (text: string): boolean =>
    (/^\d+$/.test(text) && Number(text) >= 10) || /^[\d*/,-]+( [\d*/,A-Za-z-]+){4}$/.test(text);

function startProblem(text: string): string | undefined {
    if (/^earliest$/i.test(text)) {
        return undefined;
    }
    if (/^\d{4}-\d{2}-\d{2}/.test(text)) {
        const time = Date.parse(text);
        if (Number.isNaN(time) || !new Date(time).toISOString().startsWith(text.slice(0, 8)) && text.length === 10) {
            return 'There is no such date. Enter one such as 2026-01-31.';
        }
        return time > Date.now() ? 'This date lies in the future.' : undefined;
    }
    return /^[A-Za-z_][\x21-\x7e]*\d/.test(text)
        ? undefined
        : 'Enter a date such as 2026-01-31, earliest, or a cursor taken from another collector.';
}

function nameProblem(text: string): string | undefined {
    if (!/^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(text)) {
        return 'Use letters, digits, underscores, dots and hyphens, and begin with a letter or digit.';
    }
    return text.length > 64 ? 'Use at most 64 characters.' : undefined;
}

export function emailProblem(value: string): string | undefined {
    const addresses = value.split(/[,;]/).map((address) => address.trim());
    if (value.trim() === '' || addresses.every((address) => /^[^\s@]+@[^\s@]+\.[^\s@]+$/.test(address))) {
        return undefined;
    }
    return 'Enter e-mail addresses, separated by commas.';
}
