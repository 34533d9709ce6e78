// Version history: published and working versions with their files, and the way back to one.

import { get, post } from '../api.js';
import { h } from '../dom.js';
import { format, gettext, moment, number } from '../i18n.js';
import { showDialog } from './dialog.js';
import { fileLinks, finishedJob, sentence, stateBadge } from './files.js';

const PAGE = 20;
const ADMINS = ['admin', 'owner'];

/** Opens the dialog, on the published versions or, with `tab: 'working'`, on the working ones. */
export async function open({ store, outbox, tab = 'published' }) {
  const dialog = await showDialog('versions', { stylesheet: true, wide: true });
  const view = { dialog, store, outbox, list: dialog.querySelector('.versions'), more: dialog.querySelector('[data-more]'), tab, offset: 0 };
  for (const button of dialog.querySelectorAll('[data-tab]')) button.addEventListener('click', () => show(view, button.dataset.tab));
  view.more.addEventListener('click', () => load(view));
  await show(view, tab);
  return dialog;
}

async function show(view, tab) {
  Object.assign(view, { tab, offset: 0 });
  for (const button of view.dialog.querySelectorAll('[data-tab]')) button.setAttribute('aria-pressed', String(button.dataset.tab === tab));
  view.list.replaceChildren();
  await load(view);
}

async function load(view) {
  const { project, task } = view.store.state;
  try {
    const found = await get(`/projects/${project.id}/versions`, { version_type: view.tab, task_type: task, limit: PAGE, offset: view.offset });
    view.offset += found.versions.length;
    view.list.append(...found.versions.map((version) => item(view, version)));
    if (!view.offset) view.list.append(h('li.quiet', {}, view.tab === 'published' ? gettext('Nothing was published yet.') : gettext('No working version was made yet.')));
    view.more.hidden = found.versions.length < PAGE;
  } catch (error) {
    complain(view, error);
  }
}

function item(view, version) {
  const counts = format(gettext('%(annotations)s annotations on %(images)s images'), { annotations: number(version.annotation_count), images: number(version.image_count) });
  const sync = version.platform_sync;
  const files = version.exports.length ? version.exports.filter((each) => ['dice', 'coco', 'yolo'].includes(each.format)) : [];
  const place = h('div');
  const mayRestore = ADMINS.includes(view.store.state.role) && version.status === 'ready';
  return h('li', { dataset: { version: version.version_number } },
    h('div.line', {}, h('b', {}, version.version_number), stateBadge(version.status), sync && stateBadge(sync.status), h('span.quiet', {}, `${moment(version.created_at)} · ${version.created_by_name ?? version.created_by} · ${counts}`)),
    version.description && h('p', {}, version.description),
    (version.last_error || sync?.last_error) && h('p.wrong', {}, version.last_error || sync.last_error),
    h('div.line', {}, fileLinks(files),
      mayRestore && h('button.small', { type: 'button', onclick: () => preview(view, version, place) }, gettext('Restore …')),
      sync?.status === 'failed' && mayRestore && h('button.small', { type: 'button', onclick: () => resync(view, version) }, gettext('Write the official file again'))),
    version.content_hash && h('code', {}, version.content_hash),
    place);
}

/** What a restore would change, before anything does. */
async function preview(view, version, place) {
  place.replaceChildren(h('progress', { 'aria-label': gettext('Looking at what would change') }));
  try {
    const would = await restore(view, version, true);
    place.replaceChildren(h('p.note.warn', {}, format(gettext('Going back to %(version)s adds %(added)s, changes %(updated)s and removes %(removed)s annotations. What is there now is saved first.'), { version: version.version_number, ...would }),
      h('button.small.danger', { type: 'button', onclick: () => goBack(view, version, place) }, gettext('Go back')), h('button.small', { type: 'button', onclick: () => place.replaceChildren() }, gettext('Cancel'))));
  } catch (error) {
    place.replaceChildren(h('p.wrong', { role: 'alert' }, sentence(error)));
  }
}

async function goBack(view, version, place) {
  place.replaceChildren(h('progress', { 'aria-label': gettext('Going back') }));
  try {
    await restore(view, version, false);
    location.reload();
  } catch (error) {
    place.replaceChildren(h('p.wrong', { role: 'alert' }, sentence(error)));
  }
}

async function restore(view, version, dryRun) {
  const { project, task } = view.store.state;
  const body = { source: 'version', version_id: String(version.id), task_type: task, dry_run: dryRun };
  const answer = await post(`/projects/${project.id}/restore`, body, { query: { wait: 0 }, headers: { 'Idempotency-Key': crypto.randomUUID() } });
  return answer.job_id && answer.added === undefined ? finishedJob(view.dialog, answer.job_id) : answer;
}

async function resync(view, version) {
  try {
    await post(`/projects/${view.store.state.project.id}/versions/${version.id}/platform-sync`);
    await show(view, view.tab);
  } catch (error) {
    complain(view, error);
  }
}

function complain(view, error) {
  view.dialog.querySelector('[role=alert]').textContent = sentence(error);
}
