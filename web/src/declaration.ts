/** The one declaration of arguments, printed by the program; `tests/it/web.rs` holds the file to it. */
import declaration from './declaration.json';

export type Kind = 'ds_monitor' | 'ds_lookups';

export interface Argument {
    name: string;
    title: string;
    description: string;
    required: boolean;
    secret: boolean;
    default: string | null;
    group: string;
    field: string;
    options: { value: string; label: string }[];
}

export const MASK = declaration.mask;
export const CONSENT = declaration.consent;

export function argumentsOf(kind: Kind): Argument[] {
    return declaration.schemes[kind].arguments;
}

export function argumentOf(kind: Kind, name: string): Argument {
    const found = argumentsOf(kind).find((argument) => argument.name === name);
    if (!found) {
        throw new Error(`The program has no argument ${name}.`);
    }
    return found;
}

export const secretsOf = (kind: Kind): string[] =>
    argumentsOf(kind)
        .filter((argument) => argument.secret)
        .map((argument) => argument.name);

export function addressesOf(environment: string): (typeof declaration.environments)[number] {
    const [production, demo] = declaration.environments;
    const found = environment.toLowerCase() === 'demo' ? demo : production;
    if (!found) {
        throw new Error('The program names no addresses.');
    }
    return found;
}

export type KeyKind = keyof typeof declaration.key_problems;

/** What the program says of a text that is no key which it can use, as the end of a sentence. */
export const keyProblem = (kind: KeyKind): string => declaration.key_problems[kind];
