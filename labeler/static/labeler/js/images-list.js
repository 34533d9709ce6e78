// Left: the image list, names or small pictures with them. Only the rows in sight are elements, so 100,000 images cost as much as 30.

import { get } from './api.js';
import { byId, h, icon, setText } from './dom.js';
import { format, gettext, number } from './i18n.js';
import { openImage, resetList } from './images.js';
import { pages } from './image-pages.js';
import { say } from './notices.js';
import { locks } from './presence.js';
import { read, write } from './remembered.js';
import { store } from './store.js';

const WORDS = { 'not-started': () => gettext('not started'), 'in-progress': () => gettext('in progress'), completed: () => gettext('completed') };

export const statusWords = (status) => WORDS[status]?.() ?? '';

export class ImagesList {
  rows = new Map();

  constructor() {
    this.scroller = byId('image-scroller');
    this.space = byId('image-rows');
    this.scroller.addEventListener('scroll', () => this.paint(), { passive: true });
    this.scroller.addEventListener('keydown', (event) => this.key(event));
    new ResizeObserver(() => this.paint()).observe(this.scroller);
    pages.addEventListener('changed', () => this.paint());
    locks.addEventListener('changed', () => this.paint());
    store.on('position image', () => this.follow());
    store.on('position total image', () => this.showPosition());
    store.addEventListener('progress', () => this.countSoon());
    this.listenToFilters();
    this.listenToThumbnails();
  }

  get height() {
    // As label.css has it.
    return (this.pictures ? 3.4 : 2.15) * Number.parseFloat(getComputedStyle(document.documentElement).fontSize);
  }

  paint() {
    const { height } = this;
    this.space.style.height = `${pages.total * height}px`;
    const first = Math.max(0, Math.floor(this.scroller.scrollTop / height) - 6);
    const last = Math.min(pages.total - 1, Math.ceil((this.scroller.scrollTop + this.scroller.clientHeight) / height) + 6);
    for (const [index, row] of this.rows) {
      if (index < first || index > last) {
        row.remove();
        this.rows.delete(index);
      }
    }
    for (let index = first; index <= last; index += 1) this.paintRow(index, height);
    if (pages.total) pages.need(first, last);
    this.paintEmpty();
  }

  paintRow(index, height) {
    let row = this.rows.get(index);
    if (!row) {
      row = h('div.row', { role: 'option', onclick: () => this.open(index) }, h('i.dot', { 'aria-hidden': 'true' }), h('span.name', {}, h('bdi')), h('span.visually-hidden'), h('span.count'));
      row.style.transform = `translateY(${index * height}px)`;
      this.rows.set(index, row);
      this.space.append(row);
    }
    const entry = pages.at(index);
    const [dot, name, words] = row.querySelectorAll(':scope > :is(.dot, .name, .visually-hidden)');
    row.classList.toggle('blank', !entry);
    row.id = `image-${index}`;
    row.setAttribute('aria-selected', String(Boolean(entry) && entry.image.id === store.state.image?.id));
    row.setAttribute('aria-posinset', index + 1);
    row.setAttribute('aria-setsize', pages.total);
    if (!entry) return;
    const status = entry.status?.status ?? 'not-started';
    dot.className = `dot ${status}`;
    setText(name.firstChild, entry.image.id);
    setText(words, statusWords(status));
    setText(row.lastChild, entry.status?.total_annotations ? number(entry.status.total_annotations) : '');
    row.title = `${entry.image.id}: ${statusWords(status)}`;
    if (this.pictures) this.paintThumbnail(row, entry.image);
    this.paintLock(row, locks.of(entry.image.id));
  }

  /** The picture itself, made small by the browser, in a box that is there before it. */
  paintThumbnail(row, image) {
    const present = row.querySelector('.thumbnail');
    if (present?.dataset.image === image.id) return;
    present?.remove();
    const picture = h('img.thumbnail', { alt: '', loading: 'lazy', decoding: 'async', dataset: { image: image.id }, onerror: () => picture.classList.add('broken') });
    picture.src = image.url;
    row.firstChild.after(picture);
  }

  paintLock(row, lock) {
    const present = row.querySelector('.icon');
    if (!lock) present?.remove();
    else if (!present) row.lastChild.before(icon('person'));
    if (lock) row.title += ` · ${format(gettext('%(name)s is working on it'), { name: lock.user_name ?? lock.user_id })}`;
  }

  paintEmpty() {
    const empty = this.scroller.querySelector('.list-empty');
    if (pages.total || !store.state.task) empty?.remove();
    else if (!empty) this.scroller.append(h('p.list-empty', {}, gettext('No image is like that. Change the search or the filter.')));
  }

  async open(index) {
    const entry = await pages.wanted(index);
    if (entry) await openImage(entry.image, index);
  }

  /** The image shown is in sight. */
  follow() {
    const { position } = store.state;
    if (position === null) return;
    const [top, bottom] = [position * this.height, (position + 1) * this.height];
    if (top < this.scroller.scrollTop) this.scroller.scrollTop = top - 2 * this.height;
    else if (bottom > this.scroller.scrollTop + this.scroller.clientHeight) this.scroller.scrollTop = bottom - this.scroller.clientHeight + 2 * this.height;
    this.paint();
    this.scroller.setAttribute('aria-activedescendant', `image-${position}`);
  }

  showPosition() {
    const { position, total } = store.state;
    const text = position === null ? number(total) : `${number(position + 1)} / ${number(total)}`;
    setText(byId('image-position'), text);
  }

  key(event) {
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 }[event.key];
    const index = event.key === 'Home' ? 0 : event.key === 'End' ? pages.total - 1 : (store.state.position ?? 0) + (by ?? NaN);
    if (Number.isNaN(index)) return;
    event.preventDefault();
    event.stopPropagation();
    this.open(Math.min(Math.max(index, 0), pages.total - 1));
  }

  // Filters ------------------------------------------------------------------------------------

  listenToFilters() {
    const group = byId('image-filter');
    group.addEventListener('click', (event) => {
      const button = event.target.closest('button');
      if (button) this.filter({ status: button.dataset.status });
    });
    let typing;
    byId('image-search').addEventListener('input', ({ target }) => {
      clearTimeout(typing);
      typing = setTimeout(() => this.filter({ search: target.value.trim() }), 250);
    });
  }

  async filter(change) {
    store.set({ filter: { ...store.state.filter, ...change } });
    for (const button of byId('image-filter').children) button.setAttribute('aria-checked', String(button.dataset.status === store.state.filter.status));
    this.clear();
    this.scroller.scrollTop = 0;
    try {
      await resetList();
    } catch (error) {
      say(error.sentence ?? gettext('The list cannot be loaded now; the server cannot be reached.'), 'bad');
    }
  }

  clear() {
    for (const row of this.rows.values()) row.remove();
    this.rows.clear();
  }

  // Small pictures -----------------------------------------------------------------------------

  listenToThumbnails() {
    this.showThumbnails(read('labeler.thumbnails') === 'true');
    byId('thumbnails').addEventListener('click', () => {
      const index = Math.floor(this.scroller.scrollTop / this.height);
      this.showThumbnails(!this.pictures);
      write('labeler.thumbnails', String(this.pictures));
      // What was on top stays there.
      this.scroller.scrollTop = index * this.height;
      this.paint();
    });
  }

  showThumbnails(pictures) {
    this.pictures = pictures;
    this.scroller.classList.toggle('with-pictures', pictures);
    byId('thumbnails').setAttribute('aria-pressed', String(pictures));
    this.clear();
    this.paint();
  }

  countSoon() {
    clearTimeout(this.counting);
    this.counting = setTimeout(() => this.count(), 400);
  }

  /** How many images have each status. */
  async count() {
    const { project, task } = store.state;
    const stats = await get(`/projects/${project.id}/stats`).catch(() => null);
    const mine = stats?.task_stats.find((entry) => entry.task_type === task);
    if (!mine) return;
    for (const [status, name] of [['not-started', 'not_started'], ['in-progress', 'in_progress'], ['completed', 'completed']]) {
      const button = byId('image-filter').querySelector(`[data-status="${status}"]`);
      setText(button.querySelector('.count'), number(mine[name]));
      button.title = `${number(mine[name])} ${statusWords(status)}`;
    }
  }
}
