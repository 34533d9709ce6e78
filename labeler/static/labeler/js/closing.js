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
  const go = () => {
    if (!store.state.mayEdit || !store.state.project) return;
    const sent = sendUnsent(outbox);
    if (changed || sent || store.state.working?.dirty) beacon();
    changed = false;
  };
  addEventListener('pagehide', go);
  document.addEventListener('visibilitychange', () => document.visibilityState === 'hidden' && go());
  addEventListener('beforeunload', (event) => {
    go();
    // Asked only where staying helps: something is unsent and the server does not take it.
    if (outbox.counts.all && (outbox.held || outbox.counts.problems)) event.preventDefault();
  });
}

/** Unsent strokes by batch routes with keepalive, as far as they fit. Gives how many were sent. */
function sendUnsent(outbox) {
  if (outbox.held) return 0;
  let left = MOST;
  let sent = 0;
  for (const [kind, [path, bodyOf]] of Object.entries(ROUTES)) {
    const some = outbox.changes.filter((each) => each.kind === kind && each.state === 'waiting' && (kind === 'create' || each.id !== null)).slice(0, 1000);
    let body = some.length ? JSON.stringify(bodyOf(some)) : '';
    while (body.length > left && some.length) {
      some.length = Math.floor(some.length / 2);
      body = some.length ? JSON.stringify(bodyOf(some)) : '';
    }
    if (!some.length) continue;
    left -= body.length;
    sent += some.length;
    fetch(address(path), {
      method: 'POST', keepalive: true, credentials: 'same-origin', body,
      headers: { 'Content-Type': 'application/json', 'X-CSRFToken': csrfToken() },
    }).catch(() => {});
  }
  return sent;
}

function beacon() {
  const { project, task, working } = store.state;
  if (!working?.beacon_token) return;
  // A text: a JSON blob would need a preflight elsewhere, and be lost.
  navigator.sendBeacon(address(`/projects/${project.id}/working-version/save`), JSON.stringify({ trigger: 'beforeunload', task_type: task, beacon_token: working.beacon_token }));
}
