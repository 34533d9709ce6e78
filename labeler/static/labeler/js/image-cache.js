// Pictures and annotations of the images around the present one, so that going there shows them at once.

import { get, list } from './api.js';

const MOST = 7;
// Of pictures larger than this (4 bytes a pixel) seven would take more memory than a tab should.
const MOST_PIXELS = 9_000_000;
const LINK_SECONDS = 45 * 60;
const kept = new Map();

/** {image, picture, rows}: promises, begun once for each image; `image` is the API's object where it is known. */
export function prepared(project, task, image) {
  const name = `${task}/${image.id}`;
  const found = kept.get(name);
  if (found && Date.now() - found.at < LINK_SECONDS * 1000) {
    kept.delete(name);
    kept.set(name, found);
    return found;
  }
  const made = { at: Date.now(), image, picture: loadPicture(project, image), rows: loadRows(project, task, image.id) };
  // Nobody may be listening yet; who asks gets the error then.
  made.picture.catch(() => kept.delete(name));
  made.rows.catch(() => kept.delete(name));
  kept.set(name, made);
  for (const oldest of [...kept.keys()].slice(0, Math.max(0, kept.size - MOST))) kept.delete(oldest);
  return made;
}

/** The annotations are asked for again next time; the picture stays. */
export function refreshRows(project, task, id) {
  const found = kept.get(`${task}/${id}`);
  if (!found) return null;
  found.rows = loadRows(project, task, id);
  found.rows.catch(() => kept.delete(`${task}/${id}`));
  return found.rows;
}

export function forget(task, id) {
  kept.delete(`${task}/${id}`);
}

/** A link lasts an hour and the list may have been here longer: one that fails is asked for anew, once. */
async function loadPicture(project, image) {
  try {
    return await decoded(image.url);
  } catch (error) {
    const { images } = await get(`/projects/${project}/images`, { around: image.id, limit: 1 });
    const fresh = images.find((each) => each.id === image.id);
    if (!fresh) throw error;
    image.url = fresh.url;
    return decoded(fresh.url);
  }
}

async function decoded(url) {
  const picture = new Image();
  picture.decoding = 'async';
  picture.src = url;
  await picture.decode();
  if (picture.naturalWidth * picture.naturalHeight > MOST_PIXELS) return picture;
  // An element is decoded once more when a canvas first draws it, which is what one waits for; a bitmap is not.
  return createImageBitmap(picture).catch(() => picture);
}

/** Every annotation of an image for the task, however many pages. */
export async function loadRows(project, task, id) {
  const rows = [];
  for (;;) {
    const page = await list(`/annotations/project/${project}`, { image_id: id, task_type: task, limit: 1000, skip: rows.length });
    rows.push(...page.rows);
    if (rows.length >= page.total || !page.rows.length) return rows;
  }
}

/** Progress of one image. */
export async function loadStatus(project, task, id) {
  // Said twice, a name may hold a comma.
  const answer = await get(`/projects/${project}/images/status`, { task_type: task, image_ids: [id, id] });
  return answer.statuses[0] ?? null;
}
