// Right, second tab: what happened on this image, by whom, and bringing it back.

import { list, post } from './api.js';
import { byId, h } from './dom.js';
import { format, gettext, moment } from './i18n.js';
import { kindWords } from './annotations-panel.js';
import { reloadAnnotations } from './images.js';
import { store } from './store.js';

const DEEDS = {
  create: () => gettext('drawn'), update: () => gettext('changed'), delete: () => gettext('deleted'), restore: () => gettext('restored'),
  confirm: () => gettext('confirmed'), unconfirm: () => gettext('confirmation taken back'), verify: () => gettext('verified'), import: () => gettext('imported'),
};

export function showTabs(outbox) {
  const tabs = [byId('tab-annotations'), byId('tab-history')];
  const choose = (tab) => {
    for (const each of tabs) {
      each.setAttribute('aria-selected', String(each === tab));
      each.tabIndex = each === tab ? 0 : -1;
      byId(each.getAttribute('aria-controls')).hidden = each !== tab;
    }
    load();
  };
  for (const tab of tabs) {
    tab.addEventListener('click', () => choose(tab));
    tab.addEventListener('keydown', (event) => {
      if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return;
      event.stopPropagation();
      const other = tabs.find((each) => each !== tab);
      choose(other);
      other.focus();
    });
  }
  store.on('image serverRows', () => loadSoon());
  outbox.addEventListener('settled', () => loadSoon());
}

let due;

function loadSoon() {
  clearTimeout(due);
  due = setTimeout(load, 150);
}

async function load() {
  const { project, image } = store.state;
  if (byId('panel-history').hidden || !image) return;
  try {
    const { rows, total } = await list(`/annotations/history/project/${project.id}`, { image_id: image.id, limit: 100 });
    if (image.id === store.state.image?.id) paint(rows, total);
  } catch (error) {
    byId('history').replaceChildren(h('li', {}, h('span.wrong', {}, error.sentence ?? gettext('The history cannot be loaded now; the server cannot be reached.'))));
  }
}

function paint(rows, total) {
  const items = rows.map(entry);
  if (!rows.length) items.push(h('li.quiet', {}, gettext('Nothing happened on this image yet.')));
  if (total > rows.length) items.push(h('li.quiet', {}, format(gettext('%(count)s older changes are in the admin.'), { count: total - rows.length })));
  byId('history').replaceChildren(...items);
}

function entry(row) {
  const after = row.new_state ?? row.previous_state;
  const deed = row.is_undo ? gettext('undone') : DEEDS[row.action]?.() ?? row.action;
  const item = h('li', { dataset: { history: row.id, action: row.action } },
    h('span.what', {}, `${after.class_name ?? kindWords(after.annotation_type)} ${deed}`),
    h('span.who', {}, `${row.changed_by_name ?? row.changed_by} · ${moment(row.timestamp)}`));
  if (store.state.mayEdit) {
    const words = row.action === 'delete' ? gettext('Bring back') : gettext('Take back');
    item.append(h('button.small', { type: 'button', onclick: () => takeBack(row, item, false) }, words));
  }
  return item;
}

async function takeBack(row, item, force) {
  item.querySelector('.wrong')?.remove();
  try {
    await post(`/annotations/history/${row.id}/undo`, { force });
    await reloadAnnotations();
    const back = store.state.annotations.find((each) => each.id === row.annotation_id);
    store.set({ selected: new Set(back ? [back.key] : []) });
    await load();
  } catch (error) {
    const wrong = h('span.wrong', { role: 'alert' }, error.sentence ?? gettext('The server cannot be reached; nothing was changed.'));
    if (error.code === 'not_latest') wrong.append(' ', h('button.small', { type: 'button', onclick: () => takeBack(row, item, true) }, gettext('Do it anyway')));
    item.append(wrong);
  }
}
