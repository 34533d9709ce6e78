// One image of a comparison: both versions drawn over each other, and its changes as a list.

import { get } from '../api.js';
import { kindWords } from '../annotations-panel.js';
import { SHAPES } from '../canvas/shapes/index.js';
import { h, svg } from '../dom.js';
import { format, gettext } from '../i18n.js';
import { imageNamed } from '../images.js';
import { around, drawable, drawn } from './drawn.js';

const SHOWN = ['both', 'old', 'new'];
const WHAT = {
  class_changed: () => gettext('class'), position_changed: () => gettext('place'), size_changed: () => gettext('size'),
  geometry_changed: () => gettext('shape'), attributes_changed: () => gettext('attributes'), confidence_changed: () => gettext('confidence'),
};

export class ComparedImage {
  turn = 0;

  constructor(dialog, store) {
    Object.assign(this, { dialog, store, place: dialog.querySelector('figure svg'), list: dialog.querySelector('.image-changes') });
    for (const button of dialog.querySelectorAll('[data-show]')) button.addEventListener('click', () => this.choose(button.dataset.show));
    this.choose('both');
  }

  clear() {
    this.turn += 1;
    this.place.replaceChildren();
    this.list.replaceChildren();
    this.dialog.querySelector('figcaption .image-name').textContent = '';
    this.dialog.querySelector('.picture-missing').hidden = true;
  }

  /** Asks for everything about the image; what was asked before and comes later is dropped. */
  async show(path, row) {
    this.clear();
    const turn = this.turn;
    this.dialog.querySelector('figcaption .image-name').textContent = row.image_id;
    const [answer, { image }] = await Promise.all([get(path, { image_id: row.image_id }), imageNamed(row.image_id)]);
    if (turn !== this.turn) return;
    this.paint(answer.image_diffs[row.image_id], image);
  }

  paint(diff, image) {
    const both = [...diff.unchanged, ...diff.added, ...diff.removed, ...diff.modified.flatMap((pair) => [pair.old, pair.new])];
    this.whole = image?.width ? `0 0 ${image.width} ${image.height}` : (around(both) ?? '0 0 100 100');
    this.place.setAttribute('viewBox', this.whole);
    if (image) this.paintPicture(image);
    const put = (rows, name) => this.place.append(...drawable(rows).map((each) => drawn(each, name)));
    put(diff.unchanged, 'same');
    put(diff.removed, 'old removed');
    put(diff.modified.map((pair) => pair.old), 'old modified');
    put(diff.modified.map((pair) => pair.new), 'new modified');
    put(diff.added, 'new added');
    this.list.replaceChildren(
      ...diff.added.map((row) => this.item('added', '+', row, [row])), ...diff.removed.map((row) => this.item('removed', '−', row, [row])),
      ...diff.modified.map((pair) => this.item('modified', '~', pair.new, [pair.old, pair.new], changed(pair))));
    if (!this.list.children.length) this.list.append(h('li.quiet', {}, gettext('No annotation differs; the image itself entered or left the version.')));
  }

  paintPicture(image) {
    const picture = svg('image', { href: image.url, width: image.width ?? '100%', height: image.height ?? '100%' });
    picture.addEventListener('error', () => {
      picture.remove();
      this.dialog.querySelector('.picture-missing').hidden = false;
    });
    this.place.append(picture);
  }

  /** A change of the list; choosing it looks closer, choosing it again shows the whole image. */
  item(kind, sign, row, rows, words = '') {
    const closer = around(rows, 30);
    const button = h('button.plain', { type: 'button', 'aria-pressed': 'false', disabled: !closer, onclick: () => this.look(button, closer) },
      h(`span.change.${kind}`, {}, sign), h('span', {}, `${row.class_name ?? gettext('No class')} · ${kindWords(row.annotation_type)} ${SHAPES[row.annotation_type]?.size(row.geometry) ?? ''}`, words && h('small', {}, words)));
    return h('li', {}, button);
  }

  look(button, box) {
    const closer = button.getAttribute('aria-pressed') !== 'true';
    for (const each of this.list.querySelectorAll('button')) each.setAttribute('aria-pressed', String(closer && each === button));
    this.place.setAttribute('viewBox', closer ? box : this.whole);
  }

  choose(shown) {
    this.place.dataset.shown = shown;
    for (const button of this.dialog.querySelectorAll('[data-show]')) button.setAttribute('aria-checked', String(button.dataset.show === shown));
  }

  /** Both, the older, the newer, and again. */
  showNext() {
    this.choose(SHOWN[(SHOWN.indexOf(this.place.dataset.shown) + 1) % SHOWN.length]);
  }
}

function changed({ changes }) {
  const what = Object.entries(WHAT).filter(([name]) => changes[name]).map(([, words]) => words());
  // A box that moved or grew has another shape as well; that says nothing more.
  const told = what.length > 1 ? what.filter((words) => words !== gettext('shape')) : what;
  const classes = changes.class_changed ? format(gettext(' (%(old)s before)'), { old: changes.old_class ?? gettext('No class') }) : '';
  return told.join(', ') + classes;
}
