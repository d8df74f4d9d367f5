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

const place = document.getElementById('ds-monitor-set-up');
if (place) {
    void show(place);
}
