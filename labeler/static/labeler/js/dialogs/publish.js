// The publish dialog: what would be published, what stands in the way, and the files when they are made.

import { get, post } from '../api.js';
import { h } from '../dom.js';
import { format, gettext, number } from '../i18n.js';
import { showDialog } from './dialog.js';
import { findingWords } from './findings.js';
import { fileLinks, sentence, stateBadge, until } from './files.js';

const SHOWN = 5;
const settled = (version) => version.status === 'failed' || (version.status === 'ready' && version.platform_sync.status !== 'pending');

/** Opens the dialog; `context` is what docs/page.md says every dialog gets. */
export async function open({ store, outbox, images, openDialog }) {
  const dialog = await showDialog('publish', { stylesheet: true });
  const form = dialog.querySelector('form');
  const { project, task } = store.state;
  // The same wish sent twice makes one version; another wish is another key.
  let key = crypto.randomUUID();
  let turn = 0;
  const look = async () => {
    key = crypto.randomUUID();
    const mine = (turn += 1);
    await showPreview(dialog, project, task, wishOf(form), { images, openDialog, isLast: () => mine === turn });
  };
  form.addEventListener('change', (event) => {
    key = crypto.randomUUID();
    if (event.target.dataset.looks !== undefined) look();
  });
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    publish(dialog, project, task, form, key, openDialog);
  });
  dialog.querySelector('.figures').replaceChildren(...figures({}));
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

/** What would be published; of several looks the last one is shown, and reasons written before stay. */
async function showPreview(dialog, project, task, wish, { isLast, ...ways }) {
  try {
    const seen = await get(`/projects/${project.id}/versions/publish/preview`, { task_type: task, include_draft: wish.include_draft, verified_only: wish.verified_only });
    if (!isLast()) return;
    const reasons = new Map(wish.waivers.map((waiver) => [waiver.code, waiver.reason]));
    dialog.querySelector('[name=number]').placeholder = seen.next_version_number;
    dialog.querySelector('.figures').replaceChildren(...figures(seen));
    dialog.querySelector('.findings').replaceChildren(
      ...seen.blockers.map((each) => h('li.note.bad', {}, told(dialog, each, ways))),
      ...seen.warnings.map((each) => h('li.note.warn', {}, told(dialog, each, ways), waiver(each, reasons.get(each.code) ?? '', seen.needs_waivers))));
    dialog.querySelector('.needs-waivers').hidden = !(seen.needs_waivers && seen.warnings.length);
    dialog.querySelector('[type=submit]').disabled = seen.blockers.length > 0;
  } catch (error) {
    if (isLast()) say(dialog, sentence(error));
  }
}

function figures(seen) {
  const told = [
    [seen.annotation_count, gettext('annotations')], [seen.image_count, gettext('images')], [seen.completed, gettext('completed')],
    [seen.in_progress, gettext('in progress')], [seen.not_started, gettext('not started')], [seen.draft_annotations, gettext('drafts')],
  ];
  return told.map(([count, words]) => h('div.figure', {}, h('b.number', {}, count === undefined ? '–' : number(count)), h('span', {}, words)));
}

/** What stands in the way, or what to know of, with ways to some of the images it is about. */
function told(dialog, finding, { images, openDialog }) {
  const { code, sample } = finding;
  const some = (sample ?? []).slice(0, SHOWN).map((each) => {
    const [words, go] = wayTo(code, each, images, openDialog);
    return h('button.small.plain', { type: 'button', title: words, onclick: () => { dialog.close(); go(); } }, words);
  });
  return h('span', {}, findingWords(finding), some.length > 0 && h('span.ways', {}, some));
}

/** A finding names annotations by id, images by path, or the version it is compared with. */
function wayTo(code, named, images, openDialog) {
  if (code === 'count_shrunk') return [named, () => openDialog('versions')];
  if (typeof named === 'number') return [format(gettext('annotation %(id)s'), { id: named }), () => images.goToAnnotation(named)];
  return [named, () => images.goTo(named)];
}

/** A warning may be given a reason why it is all right; a strict project wants one. */
function waiver(finding, reason, required) {
  return h('input', { 'data-waiver': finding.code, value: reason, required, maxlength: 500, placeholder: gettext('Reason why this is all right (kept in the version)'), 'aria-label': format(gettext('Reason for %(what)s'), { what: findingWords(finding) }) });
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
