// Right, below the list: class, attributes, confidence and notes of the one annotation that is selected.

import { edit } from './changes.js';
import { byId, h, icon } from './dom.js';
import { format, gettext, moment } from './i18n.js';
import { kindWords, stateWords } from './annotations-panel.js';
import { shapeOf } from './canvas/shapes/index.js';
import { store } from './store.js';

let shown = null;

export function showInspector() {
  store.on('annotations selected classes mayEdit', paint);
}

function paint() {
  const place = byId('inspector');
  const { selected, annotations } = store.state;
  const row = selected.size === 1 ? annotations.find((each) => selected.has(each.key)) : null;
  place.hidden = !row;
  const stamp = row && JSON.stringify([row.key, row.class_id, row.attributes, row.notes, row.confidence, row.annotation_state, row.updated_at, row.geometry, store.state.classes.length]);
  // What is being typed is left alone.
  if (stamp === shown || (row && place.contains(document.activeElement) && place.dataset.key === row.key && isWriting())) return;
  shown = stamp;
  if (!row) return;
  const focused = place.dataset.key === row.key && place.contains(document.activeElement) ? document.activeElement : null;
  place.dataset.key = row.key;
  place.replaceChildren(...content(row).filter(Boolean));
  // Whoever goes through the fields by keys stays where he is.
  if (focused) [...place.querySelectorAll(focused.tagName)].find((each) => each.getAttribute('aria-label') === focused.getAttribute('aria-label'))?.focus({ preventScroll: true });
}

const isWriting = () => /^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName) && document.activeElement.value !== document.activeElement.defaultValue;

function content(row) {
  const disabled = !store.state.mayEdit;
  const size = shapeOf(row)?.size(row.geometry);
  return [
    h('h3', {}, kindWords(row.annotation_type), h('span.facts', {}, [size, stateWords(row.annotation_state)].filter(Boolean).join(' · '))),
    row.annotation_type !== 'no_object' && classChoice(row, disabled),
    ...Object.entries(row.attributes ?? {}).filter(([name]) => !(row.annotation_type === 'no_object' && name === 'task_type')).map(([name, value]) => attribute(row, name, value, disabled)),
    !disabled && newAttribute(row),
    notes(row, disabled),
    row.updated_at && h('p.facts', {}, format(gettext('Changed by %(name)s, %(time)s'), { name: row.updated_by_name ?? row.updated_by ?? '?', time: moment(row.updated_at) })),
  ];
}

function classChoice(row, disabled) {
  const choice = h('select', { disabled, 'aria-label': gettext('Class'), onchange: ({ target }) => edit(row.key, { class_id: target.value || null }) },
    h('option', { value: '' }, gettext('No class')), ...store.state.classes.map((entry) => h('option', { value: entry.class_id }, entry.name)));
  choice.value = row.class_id ?? '';
  return choice;
}

function attribute(row, name, value, disabled) {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return h('div.pair', {}, h('span', { title: name }, name),
    h('input', { value: text, disabled, 'aria-label': name, onchange: ({ target }) => edit(row.key, { attributes: { ...row.attributes, [name]: typed(target.value, value) } }) }),
    !disabled && h('button.plain.small.square', { type: 'button', 'aria-label': format(gettext('Remove %(name)s'), { name }), onclick: () => edit(row.key, { attributes: without(row.attributes, name) }) }, icon('close')));
}

/** A number stays a number, yes and no stay so; everything else is text. */
function typed(text, before) {
  if (typeof before === 'number' && text.trim() !== '' && Number.isFinite(Number(text))) return Number(text);
  if (typeof before === 'boolean' && /^(true|false)$/.test(text)) return text === 'true';
  if (before !== null && typeof before === 'object') {
    try {
      return JSON.parse(text);
    } catch {
      return text;
    }
  }
  return text;
}

const without = (attributes, name) => Object.fromEntries(Object.entries(attributes).filter(([each]) => each !== name));

function newAttribute(row) {
  const name = h('input', { placeholder: gettext('Attribute'), 'aria-label': gettext('New attribute'), maxlength: 100 });
  const value = h('input', { placeholder: gettext('Value'), 'aria-label': gettext('Its value') });
  const add = () => {
    if (!name.value.trim()) {
      name.focus();
      return;
    }
    const text = value.value;
    const before = /^-?\d+(\.\d+)?$/.test(text) ? 0 : /^(true|false)$/.test(text) ? true : '';
    const attributes = { ...row.attributes, [name.value.trim()]: typed(text, before) };
    name.value = value.value = '';
    edit(row.key, { attributes });
  };
  value.addEventListener('keydown', (event) => event.key === 'Enter' && add());
  return h('div.pair', {}, name, value, h('button.plain.small.square', { type: 'button', 'aria-label': gettext('Add the attribute'), onclick: add }, icon('plus')));
}

function notes(row, disabled) {
  return h('textarea', { rows: 2, disabled, placeholder: gettext('Notes'), 'aria-label': gettext('Notes'), maxlength: 10000, onchange: ({ target }) => edit(row.key, { notes: target.value || null }) }, row.notes ?? '');
}
