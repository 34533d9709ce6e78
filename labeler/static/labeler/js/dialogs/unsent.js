// What the server does not have yet, change by change.

import { h } from '../dom.js';
import { format, gettext, ngettext } from '../i18n.js';
import { showDialog } from './dialog.js';

const KINDS = {
  create: () => gettext('new annotation'), update: () => gettext('change'), delete: () => gettext('deletion'), confirm: () => gettext('confirmation'),
  verify: () => gettext('verification'), 'confirm-image': () => gettext('image confirmed'), 'unconfirm-image': () => gettext('image opened again'), 'verify-image': () => gettext('image verified'),
};

export async function open({ outbox, openDialog }) {
  const dialog = await showDialog('unsent');
  const paint = () => {
    const { changes } = outbox;
    const words = changes.length
      ? format(ngettext('%(count)s change is kept in this browser and not at the server yet.', '%(count)s changes are kept in this browser and not at the server yet.', changes.length), { count: changes.length })
      : gettext('Everything is at the server.');
    dialog.querySelector('.explanation').textContent = words;
    dialog.querySelector('.unsent').replaceChildren(...changes.slice(0, 200).map((change) => item(change, outbox, openDialog)));
  };
  outbox.addEventListener('change', paint);
  dialog.addEventListener('close', () => outbox.removeEventListener('change', paint));
  dialog.querySelector('[data-retry]').addEventListener('click', () => outbox.retry());
  paint();
  return dialog;
}

function item(change, outbox, openDialog) {
  const act = change.state === 'conflict' ? h('button.small', { type: 'button', onclick: () => openDialog('conflict', { change }) }, gettext('Decide'))
    : change.state === 'refused' ? h('button.small', { type: 'button', onclick: () => outbox.giveUp(change) }, gettext('Discard')) : null;
  return h('li', {}, h('span', {}, `${change.image}: ${KINDS[change.kind]()}`), act, change.problem?.sentence && h('span.wrong', {}, change.problem.sentence));
}
