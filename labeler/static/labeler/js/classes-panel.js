// Right, on top: the classes of the task with their number keys.

import { chooseClass } from './changes.js';
import { byId, h, swatch } from './dom.js';
import { gettext } from './i18n.js';
import { store } from './store.js';

/** Key 1 is the first class, 0 the tenth. */
export const keyOfPlace = (index) => (index < 9 ? String(index + 1) : index === 9 ? '0' : '');

export function showClasses() {
  store.on('classes activeClass annotations', paint);
  paint();
}

function paint() {
  const { classes, activeClass, task, annotations } = store.state;
  const labels = new Set(annotations.filter((row) => row.annotation_type === 'classification').map((row) => row.class_id));
  const isOn = (entry) => (task === 'classification' ? labels.has(entry.class_id) : entry.class_id === activeClass);
  const place = byId('classes');
  const focused = document.activeElement?.dataset.classId;
  place.setAttribute('aria-multiselectable', String(task === 'classification'));
  place.replaceChildren(...classes.map((entry, index) =>
    h('button.class', {
      type: 'button', role: 'option', 'aria-selected': String(isOn(entry)), dataset: { classId: entry.class_id },
      title: entry.description || entry.name, onclick: () => chooseClass(entry.class_id),
    }, swatch(entry.color), h('span.name', {}, entry.name), keyOfPlace(index) && h('kbd', {}, keyOfPlace(index)))));
  if (!classes.length) place.append(h('p.empty-list', {}, gettext('This task has no classes yet. A project admin adds them; shapes drawn before stay drafts without a class.')));
  if (focused) [...place.children].find((each) => each.dataset.classId === focused)?.focus();
}
