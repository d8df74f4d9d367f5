/** Puts the page into the view, in the theme that the user of Splunk has chosen. */
import { createRoot } from 'react-dom/client';
import SplunkThemeProvider from '@splunk/themes/SplunkThemeProvider';
import { getThemeOptions, getUserTheme } from '@splunk/splunk-utils/themes';

import { App } from './App';

/** Splunk's own answer comes at once; without it the page is light. */
const THEME_MS = 3000;

async function show(place: HTMLElement): Promise<void> {
    const without = new Promise<string>((resolve) => setTimeout(resolve, THEME_MS, 'light'));
    const theme = await Promise.race([getUserTheme(), without]);
    createRoot(place).render(
        <SplunkThemeProvider {...getThemeOptions(theme)}>
            <App />
        </SplunkThemeProvider>,
    );
}

/** Splunk Web loads the script of a view beside the view itself, so the place for the page may come later. */
function whenThere(id: string, then: (place: HTMLElement) => void): void {
    const found = document.getElementById(id);
    if (found) {
        then(found);
        return;
    }
    const observer = new MutationObserver(() => {
        const place = document.getElementById(id);
        if (place) {
            observer.disconnect();
            then(place);
        }
    });
    observer.observe(document.documentElement, { childList: true, subtree: true });
}

whenThere('ds-monitor-set-up', (place) => void show(place));
