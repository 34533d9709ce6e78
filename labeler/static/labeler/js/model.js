// Annotations as the page holds them: what the server said, with what it has not heard yet laid over it.
//
// An annotation here is the API's object with `key` (outbox.js), `id` null until the server gave one, `unsent`
// (how many of its changes wait) and `problem` (a change that waits for a person: {state, sentence, change}).

import { keyOf } from './outbox.js';

const STAMPED = { annotation_state: 'draft', confirmed_at: null, confirmed_by: null };

/** Rows of the server and the changes not sent yet, together. */
export function laidOver(rows, changes, classes) {
  const shown = new Map(rows.map((row) => [keyOf(row), { ...row, key: keyOf(row), unsent: 0, problem: null }]));
  for (const change of changes) apply(shown, change, classes);
  return [...shown.values()];
}

/** One change laid over; what is not an annotation's change is left aside. */
export function apply(shown, change, classes) {
  const present = shown.get(change.key);
  const waits = change.state !== 'waiting' ? { ...change.problem, state: change.state, change } : (present?.problem ?? null);
  if (change.kind === 'create' && !present) {
    // An image says "nothing here" or has objects; the server takes the marker away itself.
    if (change.body.annotation_type !== 'no_object') dropMarkers(shown);
    shown.set(change.key, withClass({ ...fresh(change), problem: waits }, classes));
  } else if (change.kind === 'delete' && change.state === 'waiting') {
    shown.delete(change.key);
  } else if (present) {
    shown.set(change.key, withClass({ ...present, ...effect(present, change), unsent: present.unsent + 1, problem: waits }, classes));
  } else if (change.kind === 'update' && change.problem?.code === 'gone') {
    // Deleted by somebody else; still shown until a person decides.
    shown.set(change.key, withClass({ ...change.shown, key: change.key, unsent: 1, problem: waits }, classes));
  }
}

function dropMarkers(shown) {
  for (const [key, row] of shown) if (row.annotation_type === 'no_object') shown.delete(key);
}

function fresh(change) {
  const { body } = change;
  return {
    id: change.id, version: null, attributes: {}, notes: null, confidence: null, confirmed_at: null, confirmed_by: null,
    annotation_state: body.annotation_type === 'no_object' ? 'confirmed' : 'draft', class_id: null, class_name: null,
    created_at: new Date().toISOString(), updated_by_name: null, task_type: change.task, ...body, key: change.key, unsent: 1,
  };
}

function effect(row, change) {
  if (change.kind === 'confirm') return { annotation_state: change.body.confirmed === false ? 'draft' : 'confirmed' };
  if (change.kind === 'verify') return { annotation_state: change.body.verified === false ? 'confirmed' : 'verified' };
  if (change.kind !== 'update') return {};
  const onlyNotes = Object.keys(change.body).every((field) => field === 'notes');
  return { ...change.body, ...(onlyNotes || row.annotation_type === 'no_object' ? {} : STAMPED) };
}

function withClass(row, classes) {
  const entry = classes.find((each) => each.class_id === row.class_id);
  return { ...row, class_name: entry ? entry.name : (row.class_id ? row.class_name : null) };
}

/** How an annotation is called in lists. */
export function nameOf(row, unclassed) {
  return row.class_name ?? unclassed;
}
