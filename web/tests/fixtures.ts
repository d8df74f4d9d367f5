import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';

/** The tests run in the folder web. */
const ROOT = resolve(process.cwd(), '..');

export const fixtureText = (name: string): string => readFileSync(resolve(ROOT, 'tests/fixtures', name), 'utf8');

export const fixture = <T>(name: string): T => JSON.parse(fixtureText(name)) as T;

export const root = (...parts: string[]): string => resolve(ROOT, ...parts);

export const fixtureBytes = (name: string): Uint8Array => new Uint8Array(readFileSync(resolve(ROOT, 'tests/fixtures', name)));
