// The image list as far as it was looked at: pages of a list that may have 100,000 entries.

import { get } from './api.js';
import { store } from './store.js';

const PAGE = 100;

/** Entries are {image, status}; `changed` tells when some arrived. */
export class ImagePages extends EventTarget {
  pages = new Map();
  asked = new Map();
  total = 0;
  turn = 0;

  /** Forgets everything and asks for the page with `around` (an image id), or the first one. Gives that image's place. */
  async reset({ project, task, filter, around = null }) {
    Object.assign(this, { project, task, filter });
    this.turn += 1;
    this.pages.clear();
    this.asked.clear();
    const answer = await this.load(null, around);
    this.dispatchEvent(new Event('changed'));
    return answer.position;
  }

  at(index) {
    return this.pages.get(Math.floor(index / PAGE))?.[index % PAGE] ?? null;
  }

  /** The entry at a place, asked for if it is not here yet; null beyond the ends. */
  async wanted(index) {
    if (index < 0 || index >= this.total) return null;
    if (!this.at(index)) await this.need(index);
    return this.at(index);
  }

  /** Asks for the pages of a stretch of places; what is asked for already is not asked again. */
  need(first, last = first) {
    const wanted = [];
    for (let page = Math.floor(Math.max(0, first) / PAGE); page <= Math.floor(Math.min(last, this.total - 1) / PAGE); page += 1) {
      if (!this.pages.has(page) && !this.asked.has(page)) {
        const loading = this.load(page * PAGE).catch(() => null).finally(() => this.asked.delete(page));
        this.asked.set(page, loading);
      }
      if (this.asked.has(page)) wanted.push(this.asked.get(page));
    }
    return Promise.all(wanted);
  }

  async load(offset, around = null) {
    const turn = this.turn;
    const query = { task_type: this.task, limit: PAGE, status: this.filter.status || null, search: this.filter.search || null };
    const path = `/projects/${this.project}/images`;
    const statusesAt = (place) => get(`${path}/status`, { ...query, offset: place });
    // Which page it is tells only the answer where an image is looked for.
    const [images, early] = await Promise.all([get(path, { ...query, ...(around ? { around } : { offset: offset ?? 0 }) }), around ? null : statusesAt(offset ?? 0)]);
    const statuses = early ?? await statusesAt(images.offset);
    if (turn !== this.turn) return images;
    const known = new Map(statuses.statuses.map((status) => [status.image_id, status]));
    this.total = images.total;
    this.pages.set(images.offset / PAGE, images.images.map((image) => ({ image, status: known.get(image.id) ?? null })));
    this.dispatchEvent(new Event('changed'));
    return images;
  }

  /** Where an image stands, if its page is here; -1 otherwise. */
  indexOf(id) {
    for (const [page, entries] of this.pages) {
      const index = entries.findIndex((entry) => entry.image.id === id);
      if (index >= 0) return page * PAGE + index;
    }
    return -1;
  }

  /** What an image's status has become; the entry stays where it is even if the filter would leave it out now. */
  setStatus(id, status) {
    const entry = this.at(this.indexOf(id));
    if (!entry || !status) return;
    entry.status = status;
    this.dispatchEvent(new Event('changed'));
  }
}

export const pages = new ImagePages();
export const filterOf = () => store.state.filter;
