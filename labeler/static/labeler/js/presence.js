// Who else is on which image: advice to people. What protects the data is the version of each row.

import { ApiError, address, csrfToken, get, inPath, post, send } from './api.js';
import { byId, h, icon } from './dom.js';
import { format, gettext } from './i18n.js';
import { store } from './store.js';

const HEARTBEAT = 120_000;
const LOOK = 20_000;

class Locks extends EventTarget {
  byImage = new Map();
  mine = null;

  /** Another person's lock on an image, or null. */
  of(image) {
    const lock = this.byImage.get(image);
    return lock && lock.user_id !== store.state.me?.id && new Date(lock.expires_at) > new Date() ? lock : null;
  }

  set(locks) {
    this.byImage = new Map(locks.map((lock) => [lock.image_id, lock]));
    this.dispatchEvent(new Event('changed'));
  }
}

export const locks = new Locks();
const path = (image) => `/image-locks/${store.state.project.id}/${inPath(image)}`;

export function startPresence() {
  store.on('image', arrive);
  locks.addEventListener('changed', paint);
  setInterval(look, LOOK);
  setInterval(beat, HEARTBEAT);
  addEventListener('pagehide', leaveAtOnce);
  document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && look());
  arrive().then(look);
}

async function arrive() {
  const { image, mayEdit } = store.state;
  if (locks.mine === (image?.id ?? null)) return;
  const before = locks.mine;
  locks.mine = image?.id ?? null;
  paint();
  if (!mayEdit) return;
  if (before) quietly(send('DELETE', path(before)));
  if (image) await take(image.id);
}

async function take(image) {
  const answer = await quietly(post(`${path(image)}/acquire`));
  if (!answer || locks.mine !== image) return;
  const lock = answer.locked_by ?? answer.lock;
  locks.byImage.set(image, lock);
  locks.dispatchEvent(new Event('changed'));
}

async function look() {
  if (document.visibilityState === 'hidden' || !store.state.project) return;
  const answer = await quietly(get(`/image-locks/${store.state.project.id}`));
  if (!answer) return;
  locks.set(answer.locks);
  // The other person left: the image is ours from now on.
  if (store.state.mayEdit && locks.mine && !locks.byImage.has(locks.mine)) take(locks.mine);
}

async function beat() {
  if (!store.state.mayEdit || !locks.mine) return;
  const answer = await quietly(post(`${path(locks.mine)}/heartbeat`));
  if (answer && answer.status !== 'updated') take(locks.mine);
}

function leaveAtOnce() {
  if (!locks.mine || !store.state.mayEdit) return;
  fetch(address(path(locks.mine)), { method: 'DELETE', keepalive: true, credentials: 'same-origin', headers: { 'X-CSRFToken': csrfToken() } }).catch(() => {});
  locks.mine = null;
}

/** Advice that cannot be had is no reason to stop anybody. */
async function quietly(asked) {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof ApiError && error.status === 400) console.warn(error);
    return null;
  }
}

function paint() {
  const { image } = store.state;
  const lock = image && locks.of(image.id);
  const place = byId('presence');
  place.hidden = !lock;
  if (lock) place.replaceChildren(icon('person'), h('span', {}, format(gettext('%(name)s is working on this image too'), { name: lock.user_name ?? lock.user_id })));
}
