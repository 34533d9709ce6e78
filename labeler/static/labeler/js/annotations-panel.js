// Right: the annotations of the image, one row each.

import * as changes from './changes.js';
import { byId, h, icon, setText, swatch } from './dom.js';
import { format, gettext, ngettext } from './i18n.js';
import { nameOf } from './model.js';
import { store } from './store.js';
import { boundsOf, shapeOf } from './canvas/shapes/index.js';

const KINDS = {
  bbox: () => gettext('Box'), rotated_bbox: () => gettext('Rotated box'), polygon: () => gettext('Polygon'), mask: () => gettext('Mask'),
  polyline: () => gettext('Polyline'), line: () => gettext('Line'), circle: () => gettext('Circle'), keypoints: () => gettext('Keypoints'),
  classification: () => gettext('Image label'), no_object: () => gettext('Nothing here'),
};
const STATES = { draft: () => gettext('draft'), confirmed: () => gettext('confirmed'), verified: () => gettext('verified') };

export const kindWords = (type) => KINDS[type]?.() ?? type;
export const stateWords = (state) => STATES[state]?.() ?? state;

// A thousand rows would cost a second; more come when one scrolls to the end.
const STEP = 120;

/** `context` has what dialogs get, for the conflict dialog. */
export class AnnotationsPanel {
  rows = new Map();
  most = STEP;

  constructor({ outbox, view, openDialog }) {
    Object.assign(this, { outbox, view, openDialog });
    this.list = byId('annotations');
    byId('confirm-all').addEventListener('click', () => changes.confirmAll());
    byId('verify-all').addEventListener('click', () => changes.verifyImage());
    this.list.addEventListener('scroll', () => this.extend(), { passive: true });
    store.on('image', () => {
      this.most = STEP;
    });
    store.on('annotations selected hidden classes imageState status', () => this.paint());
  }

  paint() {
    const { annotations, selected, imageState } = store.state;
    const picked = selected.size === 1 ? annotations.findIndex((row) => selected.has(row.key)) : -1;
    this.most = Math.max(this.most, picked + 10);
    const listed = annotations.slice(0, this.most);
    const wanted = new Map(listed.map((row) => [row.key, row]));
    for (const [key, { element }] of this.rows) {
      if (!wanted.has(key)) {
        element.remove();
        this.rows.delete(key);
      }
    }
    let before = null;
    for (const row of listed) {
      const element = this.row(row);
      if ((before ? before.nextSibling : this.list.firstChild) !== element) this.list.insertBefore(element, before ? before.nextSibling : this.list.firstChild);
      before = element;
    }
    this.paintEmpty(annotations.length === 0 && imageState === 'ready');
    this.paintConfirmAll(annotations);
    setText(byId('annotation-count'), annotations.length ? String(annotations.length) : '');
    if (selected.size === 1) this.rows.get([...selected][0])?.element.scrollIntoView({ block: 'nearest' });
  }

  extend() {
    const left = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight;
    if (left > 400 || this.most >= store.state.annotations.length) return;
    this.most += STEP;
    this.paint();
  }

  row(row) {
    const { selected, hidden, classes } = store.state;
    const stamp = [row.annotation_state, row.class_id, row.class_name, row.unsent, row.problem?.state, row.problem?.sentence, selected.has(row.key), hidden.has(row.key), classes.length].join('|');
    const known = this.rows.get(row.key);
    if (known?.stamp === stamp) return known.element;
    const element = this.build(row);
    const focus = known?.element.contains(document.activeElement) ? document.activeElement.dataset.act : null;
    known?.element.replaceWith(element);
    this.rows.set(row.key, { element, stamp });
    if (focus) element.querySelector(`[data-act="${focus}"]`)?.focus();
    return element;
  }

  build(row) {
    const { selected, hidden, mayEdit } = store.state;
    const name = nameOf(row, row.annotation_type === 'no_object' ? kindWords('no_object') : gettext('No class'));
    const entry = store.state.classes.find((each) => each.class_id === row.class_id);
    const isHidden = hidden.has(row.key);
    const settled = row.annotation_state !== 'draft';
    const words = `${name}, ${kindWords(row.annotation_type)}, ${stateWords(row.annotation_state)}`;
    return h(`div.annotation${selected.has(row.key) ? '.selected' : ''}${isHidden ? '.hidden-shape' : ''}`, { role: 'listitem', dataset: { key: row.key, state: row.annotation_state } },
      swatch(entry?.color ?? '#9aa3b2'),
      h('button.pick', { type: 'button', dataset: { act: 'pick' }, 'aria-label': words, 'aria-pressed': String(selected.has(row.key)), title: words, onclick: (event) => this.pick(row, event) },
        h('span.name', {}, name), icon(row.annotation_type, 'kind'), row.unsent > 0 && !row.problem && h('span.unsaved', {}, gettext('unsaved'))),
      h('span.buttons', {},
        ...(mayEdit ? this.judgement(row, settled) : []),
        shapeOf(row) && this.button('eye', isHidden ? 'eye-off' : 'eye', isHidden ? gettext('Show') : gettext('Hide'), () => this.toggleHidden(row.key), isHidden),
        mayEdit && this.button('delete', 'delete', gettext('Delete'), () => changes.remove([row.key]))),
      row.problem && this.problem(row));
  }

  /** [✓], and for a reviewer the shield. What a reviewer verified, only a reviewer takes back. */
  judgement(row, settled) {
    const verified = row.annotation_state === 'verified';
    const reviewer = changes.mayVerify();
    if (verified && !reviewer) return [h('span.verified', { role: 'img', 'aria-label': gettext('Verified by a reviewer'), title: gettext('Verified by a reviewer') }, icon('shield'))];
    return [
      reviewer && settled && this.button('verify', 'shield', verified ? gettext('Take the verification back') : gettext('Verify'), () => changes.toggleVerified(row.key), verified),
      this.button('confirm', 'check', settled ? gettext('Take the confirmation back') : gettext('Confirm'), () => changes.toggleConfirmed(row.key), settled),
    ];
  }

  button(act, drawing, words, onclick, pressed) {
    return h(`button.${act}`, { type: 'button', dataset: { act }, 'aria-label': words, title: words, onclick, 'aria-pressed': pressed === undefined ? undefined : String(pressed) }, icon(drawing));
  }

  /** What stands in the way of a change, next to the annotation it is about. */
  problem(row) {
    const { state, code, sentence, change } = row.problem;
    if (state === 'refused') {
      return h('div.problem', { role: 'alert' }, h('span', {}, format(gettext('Not saved: %(reason)s'), { reason: sentence })),
        h('button.small', { type: 'button', onclick: () => this.outbox.giveUp(change) }, gettext('Discard')));
    }
    const said = code === 'gone' ? gettext('Somebody deleted this annotation; your change is kept.') : gettext('Somebody else changed it meanwhile.');
    return h('div.problem', { role: 'alert' }, h('span', {}, said),
      h('button.small', { type: 'button', onclick: () => this.openDialog('conflict', { change, row }) }, gettext('Decide')));
  }

  pick(row, event) {
    const several = event.shiftKey || event.ctrlKey || event.metaKey;
    const selected = new Set(several ? store.state.selected : []);
    if (several && selected.has(row.key)) selected.delete(row.key);
    else selected.add(row.key);
    store.set({ selected });
    const bounds = boundsOf(row);
    if (bounds) this.view.reveal(bounds);
  }

  toggleHidden(key) {
    const hidden = new Set(store.state.hidden);
    if (!hidden.delete(key)) hidden.add(key);
    store.set({ hidden });
  }

  paintEmpty(empty) {
    const present = this.list.querySelector('.empty-list');
    if (!empty) present?.remove();
    else if (!present) this.list.append(h('p.empty-list', {}, gettext('Nothing is drawn on this image yet.')));
  }

  paintConfirmAll(annotations) {
    const drafts = annotations.filter((row) => row.annotation_state === 'draft').length;
    const button = byId('confirm-all');
    button.hidden = drafts === 0 || !store.state.mayEdit;
    setText(button, format(ngettext('Confirm all (%(count)s draft)', 'Confirm all (%(count)s drafts)', drafts), { count: drafts }));
    const confirmed = annotations.filter((row) => row.annotation_state === 'confirmed' && row.annotation_type !== 'no_object').length;
    const verify = byId('verify-all');
    verify.hidden = drafts > 0 || confirmed === 0 || !changes.mayVerify() || store.state.status?.status !== 'completed';
    setText(verify, format(ngettext('Verify all (%(count)s)', 'Verify all (%(count)s)', confirmed), { count: confirmed }));
  }
}
