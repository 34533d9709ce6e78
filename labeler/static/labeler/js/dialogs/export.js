// The export dialog: files of the live rows, made by a job, downloaded here.

import { post } from '../api.js';
import { format, gettext } from '../i18n.js';
import { h } from '../dom.js';
import { showDialog } from './dialog.js';
import { fileLinks, finishedJob, sentence } from './files.js';
import { showSplits } from './splits.js';

/** Opens the dialog; `context` is what docs/page.md says every dialog gets. */
export async function open({ store }) {
  const dialog = await showDialog('export', { stylesheet: true });
  dialog.querySelector('form').addEventListener('submit', (event) => {
    event.preventDefault();
    make(dialog, store.state, event.target);
  });
  await showSplits(dialog, store);
  return dialog;
}

async function make(dialog, { project, task }, form) {
  const said = new FormData(form);
  const button = dialog.querySelector('[type=submit]');
  const place = dialog.querySelector('.made');
  const formats = said.getAll('format');
  dialog.querySelector('.wrong').textContent = formats.length ? '' : gettext('Choose at least one format.');
  if (!formats.length) return;
  button.disabled = true;
  place.hidden = false;
  place.replaceChildren(h('progress', { 'aria-label': gettext('The files are being made') }));
  try {
    const body = { export_formats: formats, include_draft: said.get('states') === 'drafts', verified_only: said.get('states') === 'verified', task_type: task };
    const answer = await post(`/projects/${project.id}/export`, body, { query: { wait: 0 }, headers: { 'Idempotency-Key': crypto.randomUUID() } });
    const result = answer.exports ? answer : await finishedJob(dialog, answer.job_id);
    if (result) place.replaceChildren(h('p', {}, format(gettext('%(count)s files, ready to be downloaded:'), { count: result.exports.length })), fileLinks(result.exports));
  } catch (error) {
    place.hidden = true;
    dialog.querySelector('.wrong').textContent = sentence(error);
  }
  button.disabled = false;
}
