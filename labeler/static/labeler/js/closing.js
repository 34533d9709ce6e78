// The page goes: what is unsent goes out first, then the wish for a working version. Answers are not waited for;
// what did not arrive is still in the outbox and is sent when the page opens again.

import { address, csrfToken } from './api.js';
import { store } from './store.js';

// A browser takes 64 KiB of such requests at a time.
const MOST = 60 * 1024;
const ROUTES = {
  create: ['/annotations/batch', (some) => ({ annotations: some.map((each) => each.body) })],
  update: ['/annotations/batch-update', (some) => ({ updates: some.map((each) => ({ id: each.id, ...(each.base === null ? {} : { version: each.base }), ...each.body })) })],
  delete: ['/annotations/batch-delete', (some) => ({ annotation_ids: some.map((each) => each.id) })],
};

export function watchClosing(outbox) {
  let changed = false;
  outbox.addEventListener('settled', () => {
    changed = true;
  });
  const isWanted = () => changed || outbox.counts.waiting > 0 || store.state.working?.dirty;
  // Strokes first: a wish that overtakes them finds nothing new to save. What it misses is saved when the time is due.
  addEventListener('beforeunload', (event) => {
    sendUnsent(outbox);
    // Asked only where staying helps: something is unsent and the server does not take it.
    if (outbox.counts.all && (outbox.held || outbox.counts.problems)) event.preventDefault();
  });
  document.addEventListener('visibilitychange', async () => {
    if (document.visibilityState !== 'hidden' || !isWanted()) return;
    await sendUnsent(outbox);
    beacon();
    changed = false;
  });
  addEventListener('pagehide', () => {
    if (!isWanted()) return;
    sendUnsent(outbox);
    beacon();
    changed = false;
  });
}

/** Unsent strokes by batch routes with keepalive, as far as they fit; each once in a while. */
function sendUnsent(outbox) {
  if (outbox.held || !store.state.mayEdit) return null;
  const now = performance.now();
  const waiting = outbox.changes.filter((each) => each.state === 'waiting' && (each.kind === 'create' || each.id !== null) && !(now - each.keptAlive < 2000));
  let left = MOST;
  const requests = [];
  for (const [kind, [path, bodyOf]] of Object.entries(ROUTES)) {
    const some = waiting.filter((each) => each.kind === kind).slice(0, 1000);
    const body = fitting(some, bodyOf, left);
    if (!body) continue;
    left -= body.length;
    for (const each of some) each.keptAlive = now;
    requests.push(fetch(address(path), {
      method: 'POST', keepalive: true, credentials: 'same-origin', body,
      headers: { 'Content-Type': 'application/json', 'X-CSRFToken': csrfToken() },
    }));
  }
  return Promise.allSettled(requests);
}

/** The body of as many as fit; `some` is shortened to those. */
function fitting(some, bodyOf, left) {
  while (some.length) {
    const body = JSON.stringify(bodyOf(some));
    if (new TextEncoder().encode(body).length <= left) return body;
    some.length = Math.floor(some.length / 2);
  }
  return '';
}

function beacon() {
  const { project, task, working } = store.state;
  if (!working?.beacon_token || !store.state.mayEdit) return;
  // A text: a JSON blob would need a preflight elsewhere, and be lost.
  navigator.sendBeacon(address(`/projects/${project.id}/working-version/save`), JSON.stringify({ trigger: 'beforeunload', task_type: task, beacon_token: working.beacon_token }));
}
