// Two versions side by side, image by image: which images differ and how, and one of them drawn with both.

import { get } from '../api.js';
import { h } from '../dom.js';
import { format, gettext, moment, ngettext, number } from '../i18n.js';
import { ComparedImage } from './compared-image.js';
import { showDialog } from './dialog.js';
import { sentence } from './files.js';

const PAGE = 50;
const OFFERED = 100;
export const LIVE = '-1';
const KINDS = { added: ['+', () => gettext('added')], removed: ['−', () => gettext('removed')], modified: ['~', () => gettext('changed')] };

/** `a` and `b` are versions of the API, null for what is there now. */
export async function open({ store, images, a, b = null }) {
  const dialog = await showDialog('compare', { stylesheet: true, wide: true });
  const view = new Comparing(dialog, store);
  dialog.addEventListener('keydown', (event) => view.key(event));
  dialog.querySelector('[data-go]').addEventListener('click', async () => {
    const image = view.shown;
    for (const each of document.querySelectorAll('dialog[open]')) each.close();
    await images.goTo(image);
  });
  await view.offer(a, b);
  await view.compare();
  // Not on a choice of version: letters would choose there.
  view.list.querySelector('button')?.focus();
  return dialog;
}

class Comparing {
  turn = 0;
  kind = null;
  listed = [];
  shown = null;

  constructor(dialog, store) {
    Object.assign(this, { dialog, store, list: dialog.querySelector('.changed-images'), more: dialog.querySelector('[data-more]') });
    this.picture = new ComparedImage(dialog, store);
    for (const choice of dialog.querySelectorAll('[data-side]')) choice.addEventListener('change', () => this.compare());
    for (const button of dialog.querySelectorAll('[data-step]')) button.addEventListener('click', () => this.step(Number(button.dataset.step)));
    this.more.addEventListener('click', () => this.load());
  }

  get sides() {
    return [...this.dialog.querySelectorAll('[data-side]')].map((choice) => choice.value);
  }

  get path() {
    return `/version-diff/versions/${this.sides.join('/compare/')}`;
  }

  /** What can be chosen: the newest published and working versions, the two that were asked for, and now. */
  async offer(a, b) {
    const { project, task } = this.store.state;
    const found = await get(`/projects/${project.id}/versions`, { task_type: task, limit: OFFERED }).catch(() => ({ versions: [] }));
    const known = new Map([a, b, ...found.versions].filter((each) => each && each.status === 'ready').map((each) => [String(each.id), each]));
    const newestFirst = [...known].sort(([, one], [, other]) => other.created_at.localeCompare(one.created_at));
    const of = (type, words) => h('optgroup', { label: words }, newestFirst.filter(([, each]) => each.version_type === type)
      .map(([id, each]) => h('option', { value: id }, `${each.version_number} · ${moment(each.created_at)}`)));
    for (const [name, version] of [['a', a], ['b', b]]) {
      const choice = this.dialog.querySelector(`[data-side="${name}"]`);
      choice.replaceChildren(h('option', { value: LIVE }, gettext('Now')), of('published', gettext('Published')), of('working', gettext('Working')));
      choice.value = version ? String(version.id) : LIVE;
    }
  }

  async compare() {
    const turn = (this.turn += 1);
    Object.assign(this, { kind: null, listed: [], shown: null });
    this.clear();
    try {
      const summary = await get(`${this.path}/summary`);
      if (turn !== this.turn) return;
      this.summary = summary;
      // The older one is always first.
      if (summary.swapped) this.swap();
      this.paintTotals();
      this.paintClasses();
      await this.load();
    } catch (error) {
      if (turn === this.turn) this.complain(error);
    }
  }

  swap() {
    const [one, other] = this.dialog.querySelectorAll('[data-side]');
    [one.value, other.value] = [other.value, one.value];
  }

  clear() {
    this.list.replaceChildren();
    this.more.hidden = true;
    this.picture.clear();
    this.dialog.querySelector('[role=alert]').textContent = '';
    this.dialog.querySelector('.place').textContent = '';
    for (const button of this.dialog.querySelectorAll('footer button')) button.disabled = true;
  }

  async load() {
    const turn = this.turn;
    this.more.disabled = true;
    try {
      const found = await get(`${this.path}/images`, { change: this.kind, limit: PAGE, offset: this.listed.length });
      if (turn !== this.turn) return;
      this.listed.push(...found.images);
      this.total = found.total;
      this.list.append(...found.images.map((row) => this.item(row)));
      if (!this.listed.length) this.list.append(h('li.quiet', {}, gettext('Nothing differs.')));
      this.more.hidden = this.listed.length >= this.total;
      if (!this.shown && this.listed.length) await this.show(0);
      this.paintPlace();
    } catch (error) {
      if (turn === this.turn) this.complain(error);
    } finally {
      this.more.disabled = false;
    }
  }

  item(row) {
    const words = Object.entries(KINDS).filter(([kind]) => row[kind]).map(([kind, [, said]]) => `${row[kind]} ${said()}`).join(', ');
    return h('li', {}, h('button.plain', { type: 'button', 'aria-label': `${row.image_id}: ${words || listingWords(row)}`, title: row.image_id, onclick: () => this.show(this.listed.indexOf(row)) },
      h('span.name', {}, h('bdi', {}, row.image_id)), counts(row)));
  }

  async show(index) {
    const row = this.listed[index];
    if (!row) return;
    this.shown = row.image_id;
    [...this.list.querySelectorAll('button')].forEach((button, place) => button.setAttribute('aria-pressed', String(place === index)));
    this.list.children[index].scrollIntoView({ block: 'nearest' });
    for (const button of this.dialog.querySelectorAll('footer button')) button.disabled = false;
    this.paintPlace();
    try {
      await this.picture.show(this.path, row);
    } catch (error) {
      if (this.shown === row.image_id) this.complain(error);
    }
  }

  async step(by) {
    const next = this.listed.findIndex((row) => row.image_id === this.shown) + by;
    if (next >= this.listed.length && this.listed.length < this.total) await this.load();
    await this.show(next);
  }

  /** Keys of the workspace where they mean the same. */
  key(event) {
    if (event.target.closest('select') || event.ctrlKey || event.metaKey || event.altKey) return;
    const by = { KeyD: 1, KeyA: -1, PageDown: 1, PageUp: -1, ArrowRight: 1, ArrowLeft: -1 }[event.code];
    if (!by && event.code !== 'KeyX') return;
    event.preventDefault();
    if (by) this.step(by);
    else this.picture.showNext();
  }

  paintTotals() {
    const { summary } = this.summary;
    const all = h('button.small', this.radio(null), format(ngettext('%(count)s image differs', '%(count)s images differ', summary.images_with_changes), { count: number(summary.images_with_changes) }));
    const kinds = Object.entries(KINDS).map(([kind, [sign, words]]) => h(`button.small.${kind}`, this.radio(kind), `${sign} ${number(summary[`total_${kind}`])} ${words()}`));
    const rest = h('span.quiet', {}, format(gettext('%(count)s annotations are the same'), { count: number(summary.total_unchanged) }));
    this.dialog.querySelector('.totals').replaceChildren(all, ...kinds, rest);
  }

  radio(kind) {
    return { type: 'button', role: 'radio', 'aria-checked': String(this.kind === kind), onclick: () => this.choose(kind) };
  }

  async choose(kind) {
    this.turn += 1;
    Object.assign(this, { kind, listed: [], shown: null });
    this.clear();
    this.paintTotals();
    this.dialog.querySelector('.totals [aria-checked=true]').focus();
    await this.load();
  }

  paintClasses() {
    const { renamed, added, removed } = this.summary.classes;
    const told = [
      ...renamed.map((each) => format(gettext('The class %(old)s is called %(new)s.'), { old: each.old_name, new: each.new_name })),
      ...added.map((each) => format(gettext('The class %(name)s is new.'), each)),
      ...removed.map((each) => format(gettext('The class %(name)s is gone.'), each)),
    ];
    const place = this.dialog.querySelector('.class-changes');
    place.hidden = !told.length;
    place.replaceChildren(...told.map((words) => h('li', {}, words)));
  }

  paintPlace() {
    const index = this.listed.findIndex((row) => row.image_id === this.shown);
    this.dialog.querySelector('.place').textContent = index < 0 ? '' : `${number(index + 1)} / ${number(this.total)}`;
  }

  complain(error) {
    this.dialog.querySelector('[role=alert]').textContent = sentence(error);
  }
}

const counts = (row) => {
  const told = Object.entries(KINDS).filter(([kind]) => row[kind]).map(([kind, [sign]]) => h(`span.change.${kind}`, {}, `${sign}${row[kind]}`));
  return h('span.counts', {}, told.length ? told : h('span.change', {}, listingWords(row)));
};

/** An image may enter or leave a version without any annotation. */
const listingWords = (row) => (row.listing === 'added' ? gettext('image is new') : gettext('image is gone'));
