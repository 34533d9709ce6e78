// Light and dark: the system's choice until somebody presses the button.

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
      keep(theme);
      set(theme);
    });
  }
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', (event) => {
    if (!kept()) set(event.matches ? 'dark' : 'light');
  });
}

function kept() {
  try {
    return localStorage.getItem('labeler.theme');
  } catch {
    return null;
  }
}

function keep(theme) {
  try {
    localStorage.setItem('labeler.theme', theme);
  } catch {
    // Private windows may refuse; the choice lasts as long as the page.
  }
}
