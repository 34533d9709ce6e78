// Going back to a version: whole or some images, and what would change is shown before anything does.

import { get, post } from '../api.js';
import { h } from '../dom.js';
import { format, gettext, ngettext, number } from '../i18n.js';
import { LIVE } from './compare.js';
import { showDialog } from './dialog.js';
import { finishedJob, sentence } from './files.js';

const PAGE = 50;

/** `version` is one of the API's versions. */
export async function open({ store, outbox, openDialog, version }) {
  const dialog = await showDialog('restore', { stylesheet: true });
  const view = new Restoring(dialog, store, outbox, version);
  dialog.querySelector('[data-compare]').addEventListener('click', () => openDialog('compare', { a: version }));
  await view.look();
  return dialog;
}

class Restoring {
  turn = 0;
  offset = 0;
  key = crypto.randomUUID();
  looked = false;

  constructor(dialog, store, outbox, version) {
    Object.assign(this, { dialog, store, outbox, version, form: dialog.querySelector('form'), place: dialog.querySelector('.preview'), images: dialog.querySelector('.choose-images ul'), more: dialog.querySelector('[data-more]') });
    dialog.querySelector('.version').textContent = version.version_number;
    dialog.querySelector('[data-rollback]').hidden = version.version_type !== 'published';
    this.form.addEventListener('change', ({ target }) => target.name !== 'description' && this.change());
    this.form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.goBack();
    });
    this.more.addEventListener('click', () => this.list());
    const unsent = () => this.paintButton();
    outbox.addEventListener('change', unsent);
    dialog.addEventListener('close', () => outbox.removeEventListener('change', unsent));
  }

  get wish() {
    const said = new FormData(this.form);
    const some = said.get('scope') === 'some' && said.get('mode') !== 'rollback';
    return { mode: said.get('mode'), images: some ? said.getAll('image') : null, description: said.get('description').trim() };
  }

  async change() {
    const { mode, images } = this.wish;
    this.dialog.querySelector('[data-description]').hidden = mode !== 'rollback';
    this.dialog.querySelector('[data-scope]').hidden = mode === 'rollback';
    this.dialog.querySelector('.choose-images').hidden = images === null;
    if (images !== null && !this.offset) await this.list();
    await this.look();
  }

  /** Images that differ from what is there now, to choose from. */
  async list() {
    this.more.disabled = true;
    try {
      const found = await get(`/version-diff/versions/${this.version.id}/compare/${LIVE}/images`, { include_draft: true, limit: PAGE, offset: this.offset });
      this.offset += found.images.length;
      this.images.append(...found.images.map(choice));
      this.more.hidden = this.offset >= found.total;
      if (!found.total) this.images.append(h('li.quiet', {}, gettext('Nothing differs.')));
    } catch (error) {
      this.complain(error);
    }
    this.more.disabled = false;
  }

  /** Runs it without changing anything; of several looks the last one is shown. */
  async look() {
    const turn = (this.turn += 1);
    this.key = crypto.randomUUID();
    this.looked = false;
    this.paintButton();
    this.dialog.querySelector('[role=alert]').textContent = '';
    const { wish } = this;
    if (wish.images?.length === 0) {
      this.place.replaceChildren(h('p.quiet', {}, gettext('Choose the images to go back on.')));
      return;
    }
    this.place.replaceChildren(h('progress', { 'aria-label': gettext('Looking at what would change') }));
    try {
      const would = await this.restore(wish, true);
      if (turn !== this.turn || !would) return;
      this.place.replaceChildren(...this.told(would));
      this.looked = true;
      this.paintButton();
    } catch (error) {
      if (turn !== this.turn) return;
      this.place.replaceChildren();
      this.complain(error);
    }
  }

  told(would) {
    const figures = [[would.added, gettext('come back')], [would.updated, gettext('change back')], [would.removed, gettext('go')], [would.unchanged, gettext('stay as they are')], [would.skipped, gettext('cannot be brought back')]];
    const shown = figures.filter(([count], index) => count || index < 4);
    return [
      h('div.figures', {}, shown.map(([count, words]) => h('div.figure', {}, h('b.number', {}, number(count)), h('span', {}, words)))),
      h('p.note.warn', {}, format(gettext('Going back to %(version)s adds %(added)s, changes %(updated)s and removes %(removed)s annotations. What is there now is saved first.'), { version: this.version.version_number, ...would })),
      ...(would.errors ?? []).slice(0, 5).map((error) => h('p.wrong', {}, error.detail ?? error.reason ?? JSON.stringify(error))),
    ];
  }

  paintButton() {
    const button = this.dialog.querySelector('footer [type=submit]');
    const unsent = this.outbox.counts.all;
    button.disabled = !this.looked || unsent > 0;
    button.title = unsent ? format(ngettext('%(count)s change is not at the server yet.', '%(count)s changes are not at the server yet.', unsent), { count: unsent }) : '';
    if (unsent && this.looked) this.dialog.querySelector('[role=alert]').textContent = `${button.title} ${gettext('Wait until all is saved, or discard it, before going back.')}`;
  }

  async goBack() {
    // Read before the fields are disabled: disabled ones say nothing.
    const { wish } = this;
    for (const each of this.dialog.querySelectorAll('input, textarea, footer button')) each.disabled = true;
    this.place.append(h('progress', { 'aria-label': gettext('Going back') }));
    try {
      const done = wish.mode === 'rollback' ? await this.rollback(wish) : await this.restore(wish, false);
      if (done) location.reload();
    } catch (error) {
      this.place.querySelector('progress').remove();
      for (const each of this.dialog.querySelectorAll('input, textarea, footer button')) each.disabled = false;
      this.complain(error);
    }
  }

  async restore({ mode, images }, dryRun) {
    const { project, task } = this.store.state;
    const body = { source: 'version', version_id: String(this.version.id), task_type: task, dry_run: dryRun, mode: mode === 'merge' ? 'merge' : 'replace', ...(images ? { image_ids: images } : {}) };
    const answer = await this.post(`/projects/${project.id}/restore`, body, dryRun ? crypto.randomUUID() : this.key);
    return answer.job_id && answer.added === undefined ? finishedJob(this.dialog, answer.job_id) : answer;
  }

  async rollback({ description }) {
    const { project, task } = this.store.state;
    const answer = await this.post(`/projects/${project.id}/rollback`, { version_id: String(this.version.id), task_type: task, description }, this.key);
    return answer.version_number ? answer : finishedJob(this.dialog, answer.job_id);
  }

  post(path, body, key) {
    return post(path, body, { query: { wait: 0 }, headers: { 'Idempotency-Key': key } });
  }

  complain(error) {
    this.dialog.querySelector('[role=alert]').textContent = sentence(error);
  }
}

function choice(row) {
  const counts = [['added', '+'], ['removed', '−'], ['modified', '~']].filter(([kind]) => row[kind]).map(([kind, sign]) => h(`span.change.${kind}`, {}, `${sign}${row[kind]}`));
  return h('li', {}, h('label', {}, h('input', { type: 'checkbox', name: 'image', value: row.image_id }), h('span.name', {}, row.image_id), counts));
}
