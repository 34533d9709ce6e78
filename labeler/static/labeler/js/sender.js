// How changes of the outbox become requests, and answers become results.
//
// A result: {kind: 'done', row?} | {kind: 'again', change} | {kind: 'later', seconds} | {kind: 'signed-out'}
//         | {kind: 'conflict', problem} | {kind: 'refused', problem};  problem: {sentence, code, current?}

import { ApiError, SignedOut, Unreachable, get, inPath, post, send } from './api.js';

/** Sends changes of one kind and one image; a result for each, whatever happens. */
export function sender(me) {
  return async (changes) => {
    try {
      return changes.length > 1 ? await MANY[changes[0].kind](changes, me) : [await ONE[changes[0].kind](changes[0], me)];
    } catch (error) {
      if (changes.length === 1) return [await told(error, changes[0], me)];
      // A batch that is refused as a whole is sent one by one, so that each gets its own answer.
      if (error instanceof ApiError && !error.passing && !(error instanceof SignedOut)) return oneByOne(changes, me);
      return changes.map(() => passing(error));
    }
  };
}

async function oneByOne(changes, me) {
  const results = [];
  for (const change of changes) {
    try {
      results.push(await ONE[change.kind](change, me));
    } catch (error) {
      results.push(await told(error, change, me));
    }
  }
  return results;
}

const done = (row) => ({ kind: 'done', row });

const ONE = {
  create: async (change) => done(await post('/annotations', change.body)),
  update: async (change) => done(await send('PATCH', `/annotations/${change.id}`, { body: versioned(change) })),
  delete: async (change) => done(await send('DELETE', `/annotations/${change.id}`, { query: { version: change.base } })),
  confirm: async (change) => done(stated(await post(`/annotations/${change.id}/confirm`, change.body))),
  verify: async (change) => done(stated(await post(`/annotations/${change.id}/verify`, change.body))),
  'confirm-image': async (change) => done(await confirmImage(change, 'confirm')),
  'unconfirm-image': async (change) => done(await confirmImage(change, 'unconfirm')),
  'verify-image': async (change) => done(await confirmImage(change, 'verify')),
};

const MANY = {
  create: async (changes) => created(changes, await post('/annotations/batch', { annotations: changes.map((each) => each.body) })),
  update: async (changes, me) => {
    const updates = changes.map((each) => ({ id: each.id, ...versioned(each) }));
    return updated(changes, await post('/annotations/batch-update', { updates }), me);
  },
  confirm: async (changes) => {
    const answer = await post('/annotations/bulk-confirm', { annotation_ids: changes.map((each) => each.id) });
    const rows = new Map(answer.results.map((row) => [row.annotation_id, stated(row)]));
    const errors = new Map(answer.errors.map((error) => [error.annotation_id, error]));
    return changes.map((each) => {
      const error = errors.get(each.id);
      if (!error || error.code === 'not_found') return done(rows.get(each.id) ?? null);
      return error.code === 'locked' ? { kind: 'later', seconds: 15, locked: error.detail } : refusal(error);
    });
  },
  delete: async (changes) => {
    const answer = await post('/annotations/batch-delete', { annotation_ids: changes.map((each) => each.id) });
    return changes.map((each) => {
      const error = answer.errors.find((entry) => entry.id === each.id && entry.code !== 'not_found');
      return error ? refusal(error) : done(null);
    });
  },
};

const versioned = (change) => (change.base === null ? change.body : { ...change.body, version: change.base });
const stated = (answer) => ({ id: answer.annotation_id, ...answer });

async function confirmImage(change, word) {
  const path = `/projects/${change.project}/images/${inPath(change.image)}/${word}`;
  const answer = await post(path, change.body, { query: { task_type: change.task } });
  return { ...answer, image: true };
}

/** `annotation_ids` of a batch lists what was made, in order, errors left out. */
function created(changes, answer) {
  const failed = new Map(answer.errors.map((error) => [error.index, error]));
  const ids = [...answer.annotation_ids];
  return changes.map((each, index) => {
    const error = failed.get(index);
    if (error) return error.code === 'locked' ? { kind: 'later', seconds: 15, locked: error.detail } : refusal(error);
    return done({ id: ids.shift(), version: 1, partial: true });
  });
}

async function updated(changes, answer, me) {
  const rows = new Map(answer.annotations.map((row) => [row.id, row]));
  const errors = new Map(answer.errors.map((error) => [error.index, error]));
  return Promise.all(changes.map(async (each, index) => {
    const error = errors.get(index);
    if (!error) return done(rows.get(each.id));
    const status = { conflict: 409, not_found: 404, locked: 423 }[error.code] ?? 400;
    const current = answer.conflicts.find((entry) => entry.id === each.id || entry.current?.id === each.id)?.current;
    return told(new ApiError(status, { ...error, current }), each, me);
  }));
}

const refusal = (error) => ({ kind: 'refused', problem: { sentence: new ApiError(400, error).sentence, code: error.code } });

function passing(error) {
  if (error instanceof SignedOut) return { kind: 'signed-out' };
  return { kind: 'later', seconds: error.pause ?? 0 };
}

/** What one change's error means. */
async function told(error, change, me) {
  if (error instanceof Unreachable || error instanceof SignedOut || error.passing) return passing(error);
  if (!(error instanceof ApiError)) throw error;
  if (error.status === 423) return { kind: 'later', seconds: 15, locked: error.message };
  if (error.status === 404 && change.id !== null) return change.kind === 'update' ? gone(change) : done(null);
  if (error.status === 409 && error.code === 'conflict' && /^(update|delete)$/.test(change.kind)) return conflict(change, error, me);
  return { kind: 'refused', problem: { sentence: error.sentence, code: error.code } };
}

const gone = (change) => ({ kind: 'conflict', problem: { code: 'gone', sentence: '', current: null, kind: change.kind } });

async function conflict(change, error, me) {
  const current = error.body?.current ?? await get(`/annotations/${change.id}`).catch(() => null);
  if (!current) return { kind: 'later', seconds: 1 };
  if (current.updated_by === me) {
    // An answer that got lost on the way: the server has what was sent, or an earlier edit of ours.
    if (change.kind === 'update' && agrees(current, change.body)) return done(current);
    if (change.kind !== 'delete' && change.attempted && agrees(current, change.attempted)) return { kind: 'again', change: { base: current.version } };
  }
  return { kind: 'conflict', problem: { code: 'conflict', sentence: error.message, current } };
}

/** Does the row have every value of the body? Numbers are compared as numbers, points in whichever spelling. */
export function agrees(row, body) {
  return Object.entries(body).every(([field, value]) => same(row[field], value) || (field === 'geometry' && same(outline(row.geometry), outline(value))));
}

const outline = (geometry) => geometry.rings ?? (geometry.points ? [geometry.points] : null);

function same(a, b) {
  if (a === null || b === null || typeof a !== 'object' || typeof b !== 'object') return a === b;
  const names = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...names].every((name) => same(a[name], b[name]));
}
