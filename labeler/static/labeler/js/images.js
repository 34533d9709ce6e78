// Which image is shown: opening one, going to its neighbours, and having the next ones ready.

import { Unreachable, get } from './api.js';
import { format, gettext } from './i18n.js';
import { loadStatus, prepared, refreshRows } from './image-cache.js';
import { pages } from './image-pages.js';
import { laidOver } from './model.js';
import { say } from './notices.js';
import { store } from './store.js';

const state = store.state;
let outbox;
let opening = 0;
let nextNotStarted = null;
const arrived = new Map();

/** Asked before another image is shown; false keeps this one, and whoever says so tells why. */
export let mayLeave = () => true;

export function askBeforeLeaving(ask) {
  mayLeave = ask;
}

export function useOutbox(made) {
  outbox = made;
  outbox.addEventListener('settled', ({ detail }) => settled(detail));
  outbox.addEventListener('problem', () => layOver());
  outbox.addEventListener('adopted', () => layOver());
  outbox.addEventListener('given-up', () => layOver());
}

/** The list's first pages, and the image the address names, else the first nobody started; shown once `kept` is there. */
export async function openProject(wanted, kept = null) {
  const turn = (opening += 1);
  const [position, first] = await Promise.all([resetList(wanted), wanted ? null : nextOf('not-started', null).catch(() => null), kept]);
  const entry = position === null ? await pages.wanted(0) : pages.at(position);
  // The list is there before what the browser kept: whoever opened an image from it meanwhile stays there.
  if (turn !== opening) return;
  const image = entry && (wanted || !first) ? entry.image : (first ?? entry?.image);
  if (!image) {
    store.set({ imageState: 'none', image: null, position: null });
    return;
  }
  if (wanted && image.id !== wanted) say(format(gettext('There is no image %(name)s in this list; this is the first one.'), { name: wanted }), 'bad');
  await openImage(image);
}

export async function resetList(around = state.image?.id ?? null) {
  const position = await pages.reset({ project: state.project.id, task: state.task, filter: state.filter, around });
  store.set({ total: pages.total, position });
  return position;
}

/** Shows an image: its picture and annotations together, with what is not sent yet laid over. */
export async function openImage(image, index = pages.indexOf(image.id)) {
  if (state.image && image.id !== state.image.id && !mayLeave()) return;
  const turn = (opening += 1);
  const ready = prepared(state.project.id, state.task, image);
  const began = performance.now();
  // What is prefetched is shown without a moment of "loading".
  const waiting = setTimeout(() => turn === opening && store.set({ image, imageState: 'loading', annotations: [], selected: new Set() }), 60);
  let picture;
  let rows;
  try {
    [picture, rows] = await Promise.all([ready.picture, ready.rows]);
  } catch (error) {
    clearTimeout(waiting);
    if (turn !== opening) return;
    store.set({ image, picture: null, imageState: 'failed', annotations: [], selected: new Set(), position: index < 0 ? null : index });
    say(failure(error, image), 'bad');
    return;
  }
  clearTimeout(waiting);
  if (turn !== opening) return;
  const shown = { ...image, shownWidth: picture.width, shownHeight: picture.height };
  store.set({
    image: shown, picture, imageState: 'ready', selected: new Set(), hidden: new Set(), position: index < 0 ? null : index,
    status: pages.at(index)?.status ?? null, annotations: laidOver(rows, changesOf(image.id), state.classes), serverRows: rows,
  });
  performance.measure('image-shown', { start: began });
  remember(image);
  refresh(image.id, rows);
  // Decoding the next ones would hold up the frame that shows this one.
  requestAnimationFrame(() => setTimeout(() => turn === opening && prefetch(index)));
}

function failure(error, image) {
  if (error instanceof Unreachable) return gettext('The server cannot be reached; the image is shown when it answers again.');
  if (error.sentence) return error.sentence;
  return format(gettext('The picture %(name)s cannot be shown: the file is missing or is no picture.'), { name: image.id });
}

/** True as long as the same image is shown for the same task. */
function stillHere() {
  const { image, task } = state;
  return () => state.image?.id === image?.id && state.task === task;
}

/** The image's annotations as the server has them; asked for anew where a change arrived while the answer was on its way. */
async function freshRows(id) {
  const { project, task } = state;
  for (;;) {
    const before = arrived.get(id);
    const rows = await refreshRows(project.id, task, id);
    if (before === arrived.get(id)) return rows;
  }
}

/** What was prefetched may be older than what others did since. */
async function refresh(id, shownRows) {
  const isHere = stillHere();
  try {
    const [rows, status] = await Promise.all([freshRows(id), loadStatus(state.project.id, state.task, id)]);
    if (!isHere()) return;
    pages.setStatus(id, status);
    store.set({ status });
    if (rows && JSON.stringify(rows) !== JSON.stringify(shownRows)) layOver(rows);
  } catch (error) {
    if (!(error instanceof Unreachable)) console.warn(error);
  }
}

/** The annotations as the server has them now. */
export async function reloadAnnotations(id = state.image?.id) {
  if (!id) return;
  const isHere = stillHere();
  const rows = (await freshRows(id)) ?? (await prepared(state.project.id, state.task, state.image).rows);
  if (isHere() && state.image?.id === id) layOver(rows);
  await reloadStatus(id);
}

export async function reloadStatus(id) {
  const { task } = state;
  const status = await loadStatus(state.project.id, task, id);
  if (state.task !== task) return;
  pages.setStatus(id, status);
  if (state.image?.id === id) store.set({ status });
  store.dispatchEvent(new Event('progress'));
}

const changesOf = (id) => outbox.of(state.project.id, id).filter((change) => change.task === state.task);

function layOver(rows = state.serverRows) {
  if (!state.image || !rows) return;
  const annotations = laidOver(rows, changesOf(state.image.id), state.classes);
  const keys = new Set(annotations.map((row) => row.key));
  store.set({ serverRows: rows, annotations, selected: new Set([...state.selected].filter((key) => keys.has(key))) });
}

const due = new Map();

/** The server has a change: its row replaces ours. */
function settled({ change, result }) {
  if (change.project !== state.project?.id || change.task !== state.task) return;
  arrived.set(change.image, (arrived.get(change.image) ?? 0) + 1);
  const current = change.image === state.image?.id;
  if (current && state.serverRows) {
    if (change.kind === 'create' && change.body.annotation_type !== 'no_object') {
      state.serverRows = state.serverRows.filter((row) => row.annotation_type !== 'no_object');
    }
    const others = state.serverRows.filter((row) => row.id !== (result.row?.id ?? change.id));
    const known = state.serverRows.find((row) => row.id === (result.row?.id ?? change.id));
    if (change.kind === 'delete' || (!result.row && change.kind === 'confirm')) layOver(others);
    else if (result.row && !result.row.image) layOver(replaced(state.serverRows, known, merged(known, change, result.row)));
  }
  // Counts and statuses follow once the image's changes are through.
  clearTimeout(due.get(change.image));
  due.set(change.image, setTimeout(() => {
    due.delete(change.image);
    if (change.task !== state.task) return;
    const left = changesOf(change.image).some((each) => each.state === 'waiting');
    const again = change.kind.endsWith('-image') || result.row?.partial;
    if (!left && again && change.image === state.image?.id) reloadAnnotations(change.image).catch(() => {});
    else {
      reloadStatus(change.image).catch(() => {});
      if (!left) refreshRows(state.project.id, state.task, change.image)?.catch(() => {});
    }
  }, 80));
}

function merged(known, change, row) {
  return { ...known, ...(row.partial || row.annotation_id ? { ...(change.kind === 'create' ? asRow(change) : {}) } : {}), ...row };
}

const asRow = (change) => ({
  attributes: {}, notes: null, confidence: null, class_id: null, class_name: null, confirmed_at: null, confirmed_by: null,
  ...change.body, task_type: change.task,
  annotation_state: change.body.annotation_type === 'no_object' ? 'confirmed' : 'draft',
});

function replaced(rows, known, row) {
  return known ? rows.map((each) => (each === known ? row : each)) : [...rows, row];
}

// Going on ------------------------------------------------------------------------------------

export async function step(by) {
  const index = state.position ?? pages.indexOf(state.image?.id);
  const wanted = index === null || index < 0 ? 0 : index + by;
  const entry = await pages.wanted(wanted).catch(() => null);
  if (entry) await openImage(entry.image, wanted);
  else if (wanted >= 0 && wanted < pages.total) say(gettext('The server cannot be reached; the image is shown when it answers again.'), 'bad');
  else say(by > 0 ? gettext('This is the last image of the list.') : gettext('This is the first image of the list.'));
}

/** The next image nobody started, after this one and round to the start. */
export async function goToNotStarted() {
  const after = state.image?.id;
  try {
    const image = await (nextNotStarted?.after === after ? nextNotStarted.image : nextOf('not-started', after));
    if (image && image.id !== after) {
      const index = pages.indexOf(image.id);
      await openImage(image, index >= 0 ? index : await placeOf(image));
    } else {
      say(gettext('Every image is started. Well done.'), 'good');
    }
  } catch (error) {
    // Offline, the list that is here still leads on.
    if (error instanceof Unreachable) await step(1);
    else say(error.sentence ?? gettext('Something on this page went wrong; load it anew and try again.'), 'bad');
  }
}

const nextOf = (status, after) => get(`/projects/${state.project.id}/images/next`, { task_type: state.task, status, after });

async function placeOf(image) {
  return (await imageNamed(image.id, state.filter)).position ?? -1;
}

/** An image by its id with a fresh link, and its place in the list of `filter`: {image, position}, both null if it is not there. */
export async function imageNamed(id, filter = {}) {
  const query = { task_type: state.task, limit: 1, around: id, status: filter.status || null, search: filter.search || null };
  const { images, position } = await get(`/projects/${state.project.id}/images`, query);
  return { image: images.find((each) => each.id === id) ?? null, position };
}

/** Goes to the image of an annotation (the server's id) and selects it. */
export async function goToAnnotation(id) {
  try {
    const row = await get(`/annotations/${id}`);
    await goTo(row.image_id, id);
  } catch (error) {
    say(error.sentence ?? gettext('The server cannot be reached; try again in a moment.'), 'bad');
  }
}

/** Goes to an image by its id, wherever it stands, and selects an annotation of it (by the server's id). */
export async function goTo(id, annotation = null) {
  const { image } = await imageNamed(id);
  if (!image) {
    say(format(gettext('The image %(name)s is not in the project any more.'), { name: id }), 'bad');
    return;
  }
  if (state.image?.id !== id) {
    const { position } = await imageNamed(id, state.filter);
    await openImage(image, position ?? -1);
  }
  const row = state.annotations.find((each) => each.id === annotation);
  if (row && state.image?.id === id) store.set({ selected: new Set([row.key]) });
}

function prefetch(index) {
  const after = state.image.id;
  const image = nextOf('not-started', after);
  nextNotStarted = { after, image };
  image.then((found) => found && prepared(state.project.id, state.task, found), () => { nextNotStarted = null; });
  if (index < 0) return;
  for (const by of [1, -1, 2]) {
    pages.wanted(index + by).then((entry) => entry && prepared(state.project.id, state.task, entry.image), () => {});
  }
}

/** Annotations of the image before this one in the list; null when there is none. */
export async function previousRows() {
  const entry = state.position === null ? null : await pages.wanted(state.position - 1);
  if (!entry) return null;
  const rows = await prepared(state.project.id, state.task, entry.image).rows;
  return laidOver(rows, changesOf(entry.image.id), state.classes);
}

export const show = {
  /** The badge follows the key, not the answer. */
  confirmed(id) {
    const entry = pages.at(pages.indexOf(id));
    if (entry?.status) pages.setStatus(id, { ...entry.status, status: 'completed', is_image_confirmed: true, draft_annotations: 0 });
  },
  reopened(id) {
    if (!state.status) return;
    const status = { ...state.status, status: 'in-progress', is_image_confirmed: false };
    pages.setStatus(id, status);
    store.set({ status });
  },
};

export const nothingToConfirm = () =>
  gettext('There is nothing on this image. Press Ctrl+Enter again to confirm it as empty, or N to say so first.');

function remember(image) {
  const address = new URL(location);
  address.searchParams.set('image', image.id);
  address.searchParams.set('task', state.task);
  history.replaceState(null, '', address);
}
