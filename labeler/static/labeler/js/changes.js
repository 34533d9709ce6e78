// What a person does to annotations: shown at once, kept in the outbox, sent from there.

import { post } from './api.js';
import { format, gettext, ngettext } from './i18n.js';
import { mayLeave, nothingToConfirm, reloadAnnotations, show } from './images.js';
import { apply } from './model.js';
import { newKey } from './outbox.js';
import { say } from './notices.js';
import { boundsOf, moved } from './canvas/shapes/index.js';
import { store } from './store.js';

let outbox;

/** The outbox to put changes into. */
export function useOutbox(made) {
  outbox = made;
}

const state = store.state;

/** The change is shown and kept; `fields` are those of outbox.js. Resolves when it is on disk. */
function change(row, kind, body = {}) {
  const told = { project: state.project.id, task: state.task, image: state.image.id, kind, key: row.key, id: row.id, base: row.version, body };
  if (kind === 'update') told.shown = row;
  const shown = new Map(state.annotations.map((each) => [each.key, each]));
  // An edit settles a refusal: it is tried again as it is now.
  const present = shown.get(row.key);
  if (present?.problem?.state === 'refused') shown.set(row.key, { ...present, problem: null });
  apply(shown, { ...told, state: 'waiting' }, state.classes);
  store.set({ annotations: [...shown.values()] });
  return outbox.add(told);
}

/** A new annotation of the active class (or `fields.class_id`); it is selected. Gives its key. */
export function draw(annotation_type, geometry, fields = {}) {
  if (!mayEdit()) return null;
  const key = newKey();
  const row = { key, id: null, version: null };
  change(row, 'create', {
    project_id: state.project.id, image_id: state.image.id, annotation_type, client_id: key,
    geometry: { ...geometry, ...knownSize() },
    ...(annotation_type === 'no_object' ? {} : { class_id: state.activeClass }), ...fields,
  });
  store.set({ selected: new Set([key]) });
  return key;
}

function knownSize() {
  const { width, height } = state.image;
  return width && height ? {} : { image_width: state.image.shownWidth, image_height: state.image.shownHeight };
}

/** Several changes as one deed. */
export const together = (act) => outbox.together(act);

/** Changes fields of an annotation: geometry, class_id, attributes, confidence, notes. */
export function edit(key, fields) {
  const row = find(key);
  if (!row || !mayEdit()) return;
  change(row, 'update', fields);
}

export function removeSelected() {
  remove([...state.selected]);
}

export function remove(keys) {
  if (!mayEdit()) return;
  together(() => keys.map(find).filter(Boolean).forEach((row) => change(row, 'delete')));
  store.set({ selected: new Set() });
}

/** Confirms an annotation or takes that back. */
export function toggleConfirmed(key) {
  const row = find(key);
  if (!row || !mayEdit()) return;
  if (row.annotation_state === 'draft' && !row.class_id && row.annotation_type !== 'no_object') {
    say(gettext('Give the annotation a class before confirming it.'), 'bad');
    return;
  }
  change(row, 'confirm', { confirmed: row.annotation_state === 'draft' });
}

/** A reviewer's word on a confirmed annotation, or takes it back. */
export function toggleVerified(key) {
  const row = find(key);
  if (!row || !mayEdit() || !mayVerify()) return;
  if (row.annotation_state === 'draft') {
    say(gettext('A draft is confirmed before it is verified.'), 'bad');
    return;
  }
  change(row, 'verify', { verified: row.annotation_state === 'confirmed' });
}

/** Every confirmed annotation of the image becomes verified, as one deed. */
export function verifyImage() {
  if (mayEdit() && mayVerify()) change(theImage(), 'verify-image', { verified: true });
}

export const mayVerify = () => state.mayEdit && ['reviewer', 'admin', 'owner'].includes(state.role);

/** Confirms every draft that has a class; says how many have none. */
export function confirmAll() {
  const drafts = state.annotations.filter((row) => row.annotation_state === 'draft');
  const bare = drafts.filter((row) => !row.class_id && row.annotation_type !== 'no_object');
  together(() => drafts.filter((row) => !bare.includes(row)).forEach((row) => change(row, 'confirm', { confirmed: true })));
  if (bare.length) {
    store.set({ selected: new Set(bare.map((row) => row.key)) });
    say(format(ngettext('%(count)s draft has no class; give it one.', '%(count)s drafts have no class; give them one.', bare.length), { count: bare.length }), 'bad');
  }
}

/** The class of what is selected, and of what is drawn next. */
export function chooseClass(class_id) {
  store.set({ activeClass: class_id });
  if (state.task === 'classification') {
    toggleLabel(class_id);
    return;
  }
  const others = [...state.selected].map(find).filter((row) => row && row.class_id !== class_id && row.annotation_type !== 'no_object');
  together(() => others.forEach((row) => edit(row.key, { class_id })));
}

/** Classes of the whole image: one at a time, or several where the project says so. */
function toggleLabel(class_id) {
  const labels = state.annotations.filter((row) => row.annotation_type === 'classification');
  const same = labels.find((row) => row.class_id === class_id);
  if (same) remove([same.key]);
  else if (labels.length && !allowsSeveral()) edit(labels[0].key, { class_id });
  else draw('classification', { type: 'classification' }, { class_id });
}

export function allowsSeveral() {
  const config = state.project.task_config ?? {};
  return Boolean(config.classification?.multiple ?? config.multiple);
}

/** Says that nothing of this task is on the image; refused with a sentence while something is. */
export function nothingHere() {
  if (!mayEdit()) return;
  const markers = state.annotations.filter((row) => row.annotation_type === 'no_object');
  if (markers.length) {
    remove(markers.map((row) => row.key));
    return;
  }
  if (state.annotations.length) {
    say(format(ngettext('There is %(count)s annotation on the image; delete it first.', 'There are %(count)s annotations on the image; delete them first.', state.annotations.length), { count: state.annotations.length }), 'bad');
    return;
  }
  draw('no_object', { type: 'no_object' }, { attributes: { task_type: state.task } });
}

/** Moves what is selected by pixels of the image. */
export function nudge(dx, dy) {
  const rows = [...state.selected].map(find).filter((row) => row && boundsOf(row));
  together(() => rows.forEach((row) => edit(row.key, { geometry: moved(row, dx, dy) })));
}

/** Draws what the previous image of the list has, as drafts. */
export async function copyFromPrevious(previous) {
  if (!mayEdit()) return;
  const { image } = state;
  const found = await previous().catch((error) => {
    say(error.sentence ?? gettext('The server cannot be reached; nothing was copied.'), 'bad');
    return undefined;
  });
  // Somebody who went on meanwhile does not want it on the image they went to.
  if (found === undefined || state.image !== image) return;
  const rows = found?.filter((row) => row.annotation_type !== 'no_object') ?? [];
  if (!rows.length) {
    say(gettext('The previous image has no annotations to copy.'), 'bad');
    return;
  }
  const keys = rows.map(() => newKey());
  together(() => rows.forEach((row, index) => copy(row, keys[index])));
  store.set({ selected: new Set(keys) });
  say(format(ngettext('%(count)s annotation copied.', '%(count)s annotations copied.', keys.length), { count: keys.length }), 'good');
}

function copy(row, key) {
  const { image_width, image_height, ...geometry } = row.geometry;
  change({ key, id: null, version: null }, 'create', {
    project_id: state.project.id, image_id: state.image.id, annotation_type: row.annotation_type, client_id: key,
    geometry: { ...geometry, ...knownSize() }, class_id: row.class_id, attributes: row.attributes,
  });
}

let undoing = Promise.resolve();

/** Takes back the last thing this person did on this image, or (`redo`) does it again: by the server's history. */
export function undo({ redo = false } = {}) {
  if (!mayEdit()) return undoing;
  const { project, image } = state;
  // One after the other, each on the image it was meant for.
  undoing = undoing.then(() => undoOnce(project, image, redo));
  return undoing;
}

async function undoOnce(project, image, redo) {
  if (!(await outbox.settled(project.id, image.id))) {
    say(gettext('Undo works on what the server has; some changes of this image are not there yet.'), 'bad');
    return;
  }
  try {
    const done = await post(`/projects/${project.id}/annotations/undo`, { image_id: image.id, redo });
    if (!done.steps) say(redo ? gettext('Nothing to redo on this image.') : gettext('Nothing to undo on this image.'));
    await reloadAnnotations(image.id);
    if (state.image?.id !== image.id) return;
    const touched = new Set(done.history.map((entry) => entry.annotation_id));
    store.set({ selected: new Set(state.annotations.filter((row) => touched.has(row.id)).map((row) => row.key)) });
  } catch (error) {
    say(error.sentence ?? gettext('The server cannot be reached; nothing was undone.'), 'bad');
  }
}

let askedFor = null;

/** Ctrl+Enter: every draft confirmed, the image completed, and on to the next one not started. */
export function confirmAndNext(goOn) {
  if (!mayEdit() || !mayLeave()) return;
  const bare = state.annotations.filter((row) => row.annotation_state === 'draft' && !row.class_id && row.annotation_type !== 'no_object');
  if (bare.length) {
    store.set({ selected: new Set(bare.map((row) => row.key)) });
    say(format(ngettext('%(count)s draft has no class; give it one before confirming.', '%(count)s drafts have no class; give them one before confirming.', bare.length), { count: bare.length }), 'bad');
    return;
  }
  const empty = state.annotations.length === 0;
  if (empty && askedFor !== state.image.id) {
    askedFor = state.image.id;
    say(nothingToConfirm());
    return;
  }
  askedFor = null;
  change(theImage(), 'confirm-image', empty ? { allow_empty: true } : {});
  show.confirmed(state.image.id);
  goOn();
}

/** Back to in progress, so that it can be worked on again. */
export function reopenImage() {
  if (!mayEdit() || state.status?.status !== 'completed') return;
  change(theImage(), 'unconfirm-image', { keep_annotations: true });
  show.reopened(state.image.id);
}

/** What is done to the image as a whole has a key of its own. */
const theImage = () => ({ key: `image:${state.image.id}`, id: null, version: null });

function find(key) {
  return state.annotations.find((row) => row.key === key);
}

/** Not before the annotations are here: what is there already would be drawn a second time. */
function mayEdit() {
  if (!state.mayEdit) say(gettext('You may look at this project, not change it.'), 'bad');
  else if (state.image && state.imageState !== 'ready') say(gettext('This image is not here yet; nothing was changed.'), 'bad');
  return state.mayEdit && Boolean(state.image) && state.imageState === 'ready';
}
