// Light and dark: the system's choice until somebody presses the button.

import { read, write } from './remembered.js';

const root = document.documentElement;

/** Makes every [data-theme-toggle] button work; `changed` is called after each change. */
export function watchTheme(changed = () => {}) {
  const set = (theme) => {
    root.dataset.theme = theme;
    changed(theme);
  };
  for (const button of document.querySelectorAll('[data-theme-toggle]')) {
    button.addEventListener('click', () => {
      const theme = root.dataset.theme === 'dark' ? 'light' : 'dark';
      write('labeler.theme', theme);
      set(theme);
    });
  }
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', (event) => {
    if (!read('labeler.theme')) set(event.matches ? 'dark' : 'light');
  });
}
