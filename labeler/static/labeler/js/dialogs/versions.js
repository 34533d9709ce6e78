// Version history: published and working versions with their files, and the way back to one.

import { get, post } from '../api.js';
import { h } from '../dom.js';
import { format, gettext, moment, number } from '../i18n.js';
import { showDialog } from './dialog.js';
import { fileLinks, sentence, stateBadge } from './files.js';

const PAGE = 20;
const ADMINS = ['admin', 'owner'];

/** Opens the dialog, on the published versions or, with `tab: 'working'`, on the working ones. */
export async function open({ store, openDialog, tab = 'published' }) {
  const dialog = await showDialog('versions', { stylesheet: true, wide: true });
  const view = { dialog, store, openDialog, list: dialog.querySelector('.versions'), more: dialog.querySelector('[data-more]'), tab, offset: 0 };
  for (const button of dialog.querySelectorAll('[data-tab]')) button.addEventListener('click', () => show(view, button.dataset.tab));
  view.more.addEventListener('click', () => load(view));
  await show(view, tab);
  return dialog;
}

async function show(view, tab) {
  Object.assign(view, { tab, offset: 0, listed: [] });
  for (const button of view.dialog.querySelectorAll('[data-tab]')) button.setAttribute('aria-pressed', String(button.dataset.tab === tab));
  view.list.replaceChildren();
  await load(view);
}

async function load(view) {
  const { project, task } = view.store.state;
  try {
    const found = await get(`/projects/${project.id}/versions`, { version_type: view.tab, task_type: task, limit: PAGE, offset: view.offset });
    view.offset += found.versions.length;
    view.listed.push(...found.versions);
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
  const mayRestore = ADMINS.includes(view.store.state.role) && version.status === 'ready';
  return h('li', { dataset: { version: version.version_number } },
    h('div.line', {}, h('b', {}, version.version_number), stateBadge(version.status), stateBadge(officialState(view, version)), h('span.quiet', {}, `${moment(version.created_at)} · ${version.created_by_name ?? version.created_by} · ${counts}`)),
    version.description && h('p', {}, version.description),
    (version.last_error || sync?.last_error) && h('p.wrong', {}, version.last_error || sync.last_error),
    h('div.line', {}, fileLinks(files),
      version.status === 'ready' && h('button.small', { type: 'button', onclick: () => compare(view, version) }, gettext('Compare …')),
      mayRestore && h('button.small', { type: 'button', onclick: () => view.openDialog('restore', { version }) }, gettext('Restore …')),
      sync?.status === 'failed' && mayRestore && h('button.small', { type: 'button', onclick: () => resync(view, version) }, gettext('Write the official file again'))),
    hashes(version, files));
}

/** What proves the content and each file, to compare with what `sha256sum` says of a file. */
function hashes(version, files) {
  const told = [[gettext('Content'), version.content_hash], ...files.map((file) => [file.format.toUpperCase(), file.sha256])].filter(([, hash]) => hash);
  if (!told.length) return null;
  return h('details.hashes', {}, h('summary', {}, gettext('Hashes (SHA-256)')),
    h('dl', {}, told.flatMap(([name, hash]) => [h('dt', {}, name), h('dd', {}, h('code', {}, hash.replace('sha256:', '')))])));
}

/** Of all that were written to the platform, the newest is its official file. */
function officialState(view, version) {
  const state = version.platform_sync?.status;
  const official = view.listed.find((each) => each.platform_sync?.status === 'synced');
  return state === 'synced' && version !== official ? 'superseded' : state;
}

/** With the published version before it, where there is one; else with what is there now. */
function compare(view, version) {
  const before = view.tab === 'published' ? view.listed[view.listed.indexOf(version) + 1] : null;
  view.openDialog('compare', before ? { a: before, b: version } : { a: version });
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
