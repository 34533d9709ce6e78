// The publish dialog: what would be published, what stands in the way, and the files when they are made.

import { get, post } from '../api.js';
import { h } from '../dom.js';
import { format, gettext, number } from '../i18n.js';
import { showDialog } from './dialog.js';
import { fileLinks, sentence, stateBadge, until } from './files.js';

const settled = (version) => version.status === 'failed' || (version.status === 'ready' && version.platform_sync.status !== 'pending');

/** Opens the dialog; `context` is what docs/page.md says every dialog gets. */
export async function open({ store, outbox, openDialog }) {
  const dialog = await showDialog('publish', { stylesheet: true });
  const form = dialog.querySelector('form');
  const { project, task } = store.state;
  // The same wish sent twice makes one version; another wish is another key.
  let key = crypto.randomUUID();
  const look = async () => {
    key = crypto.randomUUID();
    await showPreview(dialog, project, task, wishOf(form));
  };
  form.addEventListener('change', (event) => {
    key = crypto.randomUUID();
    if (event.target.dataset.looks !== undefined) look();
  });
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    publish(dialog, project, task, form, key, openDialog);
  });
  if (outbox.counts.all) say(dialog, gettext('Some changes are not at the server yet; they would not be published. Wait until all is saved.'));
  await look();
  return dialog;
}

function wishOf(form) {
  const said = new FormData(form);
  return {
    description: said.get('description').trim(), version_number: said.get('number').trim() || undefined,
    include_draft: said.get('states') === 'drafts', verified_only: said.get('states') === 'verified',
    export_formats: ['dice', ...said.getAll('format')],
    waivers: [...form.querySelectorAll('[data-waiver]')].filter((input) => input.value.trim()).map((input) => ({ code: input.dataset.waiver, reason: input.value.trim() })),
  };
}

async function showPreview(dialog, project, task, wish) {
  try {
    const seen = await get(`/projects/${project.id}/versions/publish/preview`, { task_type: task, include_draft: wish.include_draft, verified_only: wish.verified_only });
    dialog.querySelector('[name=number]').placeholder = seen.next_version_number;
    dialog.querySelector('.figures').replaceChildren(...figures(seen));
    dialog.querySelector('.findings').replaceChildren(...seen.blockers.map((each) => finding(each, true)), ...seen.warnings.map((each) => finding(each, false)));
    dialog.querySelector('[type=submit]').disabled = seen.blockers.length > 0;
  } catch (error) {
    say(dialog, sentence(error));
  }
}

function figures(seen) {
  const told = [
    [seen.annotation_count, gettext('annotations')], [seen.image_count, gettext('images')], [seen.completed, gettext('completed')],
    [seen.in_progress, gettext('in progress')], [seen.not_started, gettext('not started')], [seen.draft_annotations, gettext('drafts')],
  ];
  return told.map(([count, words]) => h('div.figure', {}, h('b.number', {}, number(count)), h('span', {}, words)));
}

/** What stands in the way, or what to know of; a warning may be given a reason why it is all right. */
function finding({ code, detail, sample }, blocks) {
  const some = (sample ?? []).slice(0, 5).join(', ');
  const waiver = blocks ? null : h('input', { 'data-waiver': code, placeholder: gettext('Reason why this is all right (kept in the version)'), 'aria-label': format(gettext('Reason for %(what)s'), { what: detail }) });
  return h(`li.note.${blocks ? 'bad' : 'warn'}`, {}, h('span', {}, detail, some && h('small', {}, ` ${some}`)), waiver);
}

async function publish(dialog, project, task, form, key, openDialog) {
  const button = dialog.querySelector('[type=submit]');
  button.disabled = true;
  say(dialog, '');
  try {
    const body = { ...wishOf(form), task_type: task };
    const made = await post(`/projects/${project.id}/versions/publish`, body, { query: { wait: 0 }, headers: { 'Idempotency-Key': key } });
    await watch(dialog, project, made, openDialog);
  } catch (error) {
    say(dialog, sentence(error));
    button.disabled = false;
  }
}

async function watch(dialog, project, made, openDialog) {
  dialog.querySelector('form').hidden = true;
  dialog.querySelector('footer').hidden = true;
  const place = dialog.querySelector('.made');
  place.hidden = false;
  const paint = (version) => place.replaceChildren(...[
    h('h3', {}, version.version_number, ' ', stateBadge(version.status), ' ', stateBadge(version.platform_sync.status)),
    version.status === 'ready' ? fileLinks(version.exports) : h('progress', { 'aria-label': gettext('The files are being made') }),
    version.platform_sync.last_error && h('p.wrong', {}, version.platform_sync.last_error),
    h('div.files', {}, h('button', { type: 'button', onclick: () => { dialog.close(); openDialog('versions'); } }, gettext('All versions'))),
  ].filter(Boolean));
  await until(dialog, () => get(`/projects/${project.id}/versions/${made.id}`), (version) => {
    paint(version);
    return settled(version);
  });
}

function say(dialog, words) {
  dialog.querySelector('.wrong').textContent = words;
}
