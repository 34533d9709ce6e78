// Dialogs: a <template id="dialog-NAME"> of templates/label/dialogs/NAME.html, shown as a modal <dialog>.

import { gettext } from '../i18n.js';
import { say } from '../notices.js';

/** Opens js/dialogs/NAME.js, loaded when it is first wanted. `more` is added to the context the dialog gets. */
export function dialogOpener(context) {
  let opening = null;
  return async (name, more = {}) => {
    if (opening === name || document.querySelector(`dialog[data-name="${name}"]`)) return null;
    opening = name;
    let module;
    try {
      module = await import(`./${name}.js`);
    } catch (error) {
      console.error(error);
      say(gettext('This part of the page cannot be loaded now; try again in a moment.'), 'bad');
      return null;
    } finally {
      opening = null;
    }
    return module.open({ ...context, ...more });
  };
}

/**
 * The dialog of a template, shown. It goes from the page when it is closed: by [data-close], Escape or `close()`.
 * The focus goes back to where it was. `stylesheet: true` loads css/dialogs/NAME.css before it is shown.
 */
export async function showDialog(name, { stylesheet = false, wide = false } = {}) {
  const dialog = document.createElement('dialog');
  dialog.dataset.name = name;
  if (wide) dialog.classList.add('wide');
  dialog.append(document.getElementById(`dialog-${name}`).content.cloneNode(true));
  const title = dialog.querySelector('h2');
  title.id = `dialog-title-${name}`;
  dialog.setAttribute('aria-labelledby', title.id);
  const before = document.activeElement;
  // Text selected beyond the edge is no click outside: it has to begin there too.
  let outside = false;
  dialog.addEventListener('pointerdown', (event) => {
    outside = event.target === dialog;
  });
  dialog.addEventListener('click', (event) => {
    if ((outside && event.target === dialog) || event.target.closest('[data-close]')) dialog.close();
  });
  dialog.addEventListener('close', () => {
    dialog.remove();
    if (before?.isConnected) before.focus({ preventScroll: true });
  });
  // On the page before anything is waited for: a second press finds it there.
  document.body.append(dialog);
  if (stylesheet) await loadStylesheet(`css/dialogs/${name}.css`);
  dialog.showModal();
  return dialog;
}

function loadStylesheet(path) {
  const href = `${document.body.dataset.static}${path}`;
  if (document.querySelector(`link[href="${href}"]`)) return null;
  return new Promise((resolve) => {
    const link = Object.assign(document.createElement('link'), { rel: 'stylesheet', href, onload: resolve, onerror: resolve });
    document.head.append(link);
  });
}
