// Nothing drawn is lost: every change is kept on disk first, then sent in order, image by image, until the server has it.
//
// A change: {seq, tab, user, project, task, image, kind, key, id, base, body, attempted, tries, state, problem}
//   kind   create | update | delete | confirm | verify | confirm-image | unconfirm-image | verify-image
//   key    names the annotation in this browser: its client_id, or "s" and its id
//   base   the version an edit starts from; grows with the acknowledgements of earlier changes of the same key
//   state  waiting | conflict | refused; the last two wait for a person, and later changes of that key with them

import * as disk from './outbox-db.js';
import { isAlive, tab } from './tabs.js';
import { uuid } from './uuid.js';

const MOST_AT_ONCE = 100;

export class Outbox extends EventTarget {
  changes = [];
  busy = new Map();
  seen = new Set();
  resting = new Map();
  wake = 0;
  pausedUntil = 0;
  pauses = 0;
  held = false;
  gathering = 0;

  /** `send(changes)` sends changes of one kind and one image and answers a result for each: see sender.js. */
  constructor({ user, send }) {
    super();
    Object.assign(this, { user, send });
  }

  /** Takes up what this tab left, and what tabs that are gone left. */
  async start() {
    await this.adopt();
    setInterval(() => this.adopt(), 5000);
    addEventListener('online', () => this.retry());
    document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && this.retry());
    this.pump();
  }

  async adopt() {
    const kept = await disk.all();
    // One of ours that was written just now gets its number first; what is through stays seen, so it never comes back.
    await Promise.allSettled(this.changes.map((change) => change.writing));
    const found = kept.filter((change) =>
      !this.seen.has(change.seq) && change.user === this.user && (change.tab === tab || !isAlive(change.tab)));
    if (!found.length) return;
    for (const change of found) {
      this.seen.add(change.seq);
      change.tab = tab;
      await disk.put(change);
    }
    this.changes.push(...found);
    this.changes.sort((a, b) => (a.seq ?? Number.MAX_SAFE_INTEGER) - (b.seq ?? Number.MAX_SAFE_INTEGER));
    this.tell('adopted', { changes: found });
    this.pump();
  }

  /** Keeps a change, resolves when it is on disk, and sends it. Unsent changes of the same annotation are merged. */
  async add(change) {
    const whole = { tab, user: this.user, id: null, base: null, body: {}, attempted: null, tries: 0, state: 'waiting', problem: null, ...change };
    if (this.merge(whole)) return;
    // Its place in the order is taken now; the number comes with the disk.
    this.changes.push(whole);
    this.tell('change');
    whole.writing = disk.add(plain(whole)).then((seq) => {
      whole.seq = seq;
      this.seen.add(seq);
    });
    await whole.writing;
    this.pump();
  }

  /** What `act` adds is sent together: one request and one deed in the history where there is a batch for it. */
  together(act) {
    this.gathering += 1;
    try {
      act();
    } finally {
      this.sendGathered();
    }
  }

  sendGathered() {
    Promise.allSettled(this.changes.map((change) => change.writing)).then(() => {
      this.gathering -= 1;
      this.pump();
    });
  }

  merge(change) {
    const mine = this.changes.filter((each) => each.key === change.key && !this.isSending(each));
    const last = this.changes.findLast((each) => each.key === change.key);
    if (change.kind === 'update' && last && mine.includes(last) && mergeable(last)) {
      Object.assign(last.body, change.body);
      if (last.state === 'refused') Object.assign(last, { state: 'waiting', problem: null, tries: 0 });
      this.keep(last);
      return true;
    }
    if (change.kind === 'delete') {
      this.drop(mine.filter((each) => each.kind !== 'create' || each.tries === 0 || each.state === 'refused'));
      const left = this.changes.some((each) => each.key === change.key);
      return change.id === null && !left;
    }
    return false;
  }

  isSending(change) {
    return this.busy.get(place(change))?.includes(change) ?? false;
  }

  /** As it is now, on disk; one that is being written has no number yet and waits for it. */
  write(change) {
    Promise.resolve(change.writing).then(() => this.changes.includes(change) && disk.put(plain(change)));
  }

  keep(change) {
    this.write(change);
    this.tell('change');
    this.pump();
  }

  /** Forgets changes: they are acknowledged, or a person gave them up. */
  drop(changes) {
    if (!changes.length) return;
    this.changes = this.changes.filter((each) => !changes.includes(each));
    for (const change of changes) Promise.resolve(change.writing).then(() => disk.remove(change.seq));
    this.tell('change');
  }

  /** A person gives a change up, and what came after it on the same annotation. */
  giveUp(change) {
    this.drop(this.changes.filter((each) => each.key === change.key && each.seq >= change.seq));
    this.tell('given-up', { change });
  }

  /** A person has seen the other version and wants theirs nevertheless. */
  insist(change, version) {
    Object.assign(change, { base: version, state: 'waiting', problem: null, tries: 0 });
    this.keep(change);
  }

  /** What somebody else deleted becomes a new annotation with this one's values. */
  drawAgain(change) {
    const { annotation_type, geometry, class_id, attributes, notes, confidence } = { ...change.shown, ...change.body };
    const client_id = uuid();
    Object.assign(change, {
      kind: 'create', key: client_id, id: null, base: null, state: 'waiting', problem: null, tries: 0, attempted: null,
      body: { project_id: change.project, image_id: change.image, annotation_type, geometry, class_id, attributes, notes, confidence, client_id },
    });
    this.keep(change);
    this.tell('adopted', { changes: [change] });
  }

  /** Changes of one image, oldest first. */
  of(project, image) {
    return this.changes.filter((each) => each.project === project && each.image === image);
  }

  /** Resolves when the image's changes are at the server; false when some wait for a person or the server is away. */
  async settled(project, image) {
    this.retry();
    while (this.of(project, image).length) {
      const stuck = this.held || this.pauses > 0 || this.of(project, image).every((each) => each.state !== 'waiting' || this.rests(place(each)));
      if (stuck) return false;
      await new Promise((resolve) => this.addEventListener('change', resolve, { once: true }));
    }
    return true;
  }

  get counts() {
    const problems = this.changes.filter((each) => each.state !== 'waiting').length;
    const resting = this.changes.filter((change) => change.state === 'waiting' && this.rests(place(change))).length;
    return { all: this.changes.length, problems, waiting: this.changes.length - problems, resting, pausing: this.pauses > 0 };
  }

  /** Sends at once what a pause holds back. */
  retry() {
    if (this.held) return;
    this.pausedUntil = 0;
    this.resting.clear();
    this.pump();
  }

  /** True while somebody else has the image for themselves; the other images go on. */
  rests(where) {
    return (this.resting.get(where) ?? 0) > Date.now();
  }

  /** Signed out: nothing is sent until `release`. */
  hold() {
    this.held = true;
    this.tell('change');
  }

  release() {
    this.held = false;
    this.pauses = 0;
    this.retry();
    this.tell('change');
  }

  pump() {
    clearTimeout(this.wake);
    if (this.held || this.gathering) return;
    const wait = this.pausedUntil - Date.now();
    if (wait > 0) {
      this.wake = setTimeout(() => this.pump(), wait);
      return;
    }
    for (const where of new Set(this.changes.map(place))) {
      if (!this.busy.has(where) && !this.rests(where)) this.sendSome(where);
    }
    const ends = [...this.resting.values()].filter((end) => end > Date.now());
    if (ends.length) this.wake = setTimeout(() => this.pump(), Math.min(...ends) - Date.now() + 20);
  }

  async sendSome(where) {
    const some = sendable(this.changes.filter((each) => place(each) === where));
    if (!some.length) return;
    this.busy.set(where, some);
    this.tell('change');
    for (const change of some) {
      change.tries += 1;
      change.attempted = structuredClone(change.body);
    }
    await Promise.all(some.map((change) => disk.put(plain(change))));
    const results = await this.send(some).catch((error) => {
      // A mistake of this page must not hold the image for ever.
      console.error(error);
      return some.map(() => ({ kind: 'later', seconds: 5 }));
    });
    this.busy.delete(where);
    this.take(some, results);
    this.pump();
  }

  take(some, results) {
    const over = results.find((result) => (result.kind === 'later' && !result.locked) || result.kind === 'signed-out');
    const locked = results.find((result) => result.locked);
    if (locked) this.resting.set(place(some[0]), Date.now() + 1000 * locked.seconds);
    if (over) this.pause(over);
    else this.pauses = 0;
    const done = [];
    some.forEach((change, index) => {
      const result = results[index];
      if (result.kind === 'done') {
        done.push(change);
        this.follow(change, result);
      } else if (result.kind === 'again') {
        Object.assign(change, result.change);
        this.write(change);
      } else if (result.kind === 'conflict' || result.kind === 'refused') {
        Object.assign(change, { state: result.kind, problem: result.problem });
        this.write(change);
        this.tell('problem', { change });
      }
    });
    this.drop(done);
    done.forEach((change) => this.tell('settled', { change, result: results[some.indexOf(change)] }));
    this.tell('change');
  }

  /** Later changes of the same annotation go on from what the server now has. */
  follow(change, { row }) {
    if (!row) return;
    for (const later of this.changes) {
      if (later !== change && later.key === change.key) {
        later.id ??= row.id;
        later.base = row.version;
        this.write(later);
      }
    }
  }

  pause({ kind, seconds = 0 }) {
    if (kind === 'signed-out') {
      this.hold();
      return;
    }
    this.pauses += 1;
    // 1 s, 2 s, 4 s ... a minute, and not everybody at the same moment.
    const growing = Math.min(60, 2 ** (this.pauses - 1)) * (0.75 + Math.random() / 2);
    this.pausedUntil = Date.now() + 1000 * Math.max(growing, seconds);
  }

  tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

export const keyOf = (row) => row.client_id ?? `s${row.id}`;
export const newKey = uuid;

const place = (change) => `${change.project}/${change.task}/${change.image}`;

function plain(change) {
  const { writing, keptAlive, ...rest } = change;
  return rest.seq === undefined ? rest : { ...rest };
}

/** What was tried may have arrived, so it stays as it was. */
function mergeable(change) {
  return (change.kind === 'update' && change.state !== 'conflict') || (change.kind === 'create' && (change.tries === 0 || change.state === 'refused'));
}

/** The first changes that may go together: one kind, none of an annotation that waits for a person. */
function sendable(changes) {
  const stuck = new Set(changes.filter((each) => each.state !== 'waiting').map((each) => each.key));
  const some = [];
  for (const change of changes) {
    if (stuck.has(change.key)) continue;
    // An image is confirmed when all before it has arrived, what waits for a person too.
    if (change.kind.endsWith('-image') && stuck.size) break;
    if (change.seq === undefined) break;
    const first = some[0];
    if (first && (change.kind !== first.kind || !inBatches(first) || !inBatches(change) || some.some((each) => each.key === change.key))) break;
    some.push(change);
    if (some.length === MOST_AT_ONCE) break;
  }
  return some;
}

/** Taking a confirmation back has no batch. */
function inBatches({ kind, body }) {
  return /^(create|update|delete)$/.test(kind) || (kind === 'confirm' && body.confirmed !== false);
}
