// Top: is everything saved, and when was the last working version made.

import { connection, get, post } from './api.js';
import { byId, setIcon, setText } from './dom.js';
import { format, gettext, moment, ngettext } from './i18n.js';
import { announce, say, withdraw } from './notices.js';
import * as disk from './outbox-db.js';
import { store } from './store.js';

const LOOK = 30_000;

export function showSaveState(outbox) {
  const paint = () => paintState(outbox);
  outbox.addEventListener('change', paint);
  addEventListener('online', paint);
  addEventListener('offline', paint);
  connection.addEventListener('signed-out', () => {
    outbox.hold();
    announce('signed-out', gettext('You are signed out. What you draw is kept in this browser and sent after you sign in again.'), {
      actions: [[gettext('Sign in again'), document.body.dataset.signIn], [gettext('I have signed in'), () => signedIn(outbox)]],
    });
  });
  new BroadcastChannel('labeler').addEventListener('message', ({ data }) => data.kind === 'signed-in' && signedIn(outbox));
  addEventListener('focus', () => outbox.held && signedIn(outbox, true));
  paint();
}

/** Somebody is signed in again; if it is the same person, what was kept is sent. */
async function signedIn(outbox, quiet = false) {
  const me = await get('/me').catch(() => null);
  if (!me) {
    if (!quiet) say(gettext('You are not signed in yet.'), 'bad');
    return;
  }
  withdraw('signed-out');
  if (me.id !== outbox.user) {
    announce('other-person', format(gettext('You are signed in as %(name)s now. Unsent changes of %(before)s stay in this browser until %(before)s signs in; load the page anew to go on.'), { name: me.id, before: outbox.user }), {
      tone: 'bad', actions: [[gettext('Load anew'), () => location.reload()]],
    });
    return;
  }
  withdraw('other-person');
  outbox.release();
}

function paintState(outbox) {
  const { all, problems, pausing, resting } = outbox.counts;
  const count = { count: all };
  const [state, drawing, words] = outbox.held ? ['signed-out', 'lock', format(ngettext('Signed out, %(count)s unsaved', 'Signed out, %(count)s unsaved', all), count)]
    : problems ? ['problem', 'warning', format(ngettext('%(count)s needs you', '%(count)s need you', problems), { count: problems })]
      : all && (pausing || !navigator.onLine) ? ['offline', 'cloud-off', format(ngettext('Offline, %(count)s unsaved', 'Offline, %(count)s unsaved', all), count)]
        : !navigator.onLine ? ['offline', 'cloud-off', gettext('Offline')]
          : resting ? ['waiting', 'lock', format(ngettext('%(count)s waits for a lock', '%(count)s wait for a lock', resting), { count: resting })]
            : all ? ['saving', 'cloud', format(ngettext('Saving %(count)s …', 'Saving %(count)s …', all), count)]
              : ['saved', 'cloud', gettext('All saved')];
  const button = byId('save-state');
  if (button.dataset.state !== state) button.dataset.state = state;
  setIcon(button.querySelector('svg'), drawing);
  setText(button.querySelector('span'), words);
  if (disk.keeps) withdraw('no-disk');
  else if (all) announce('no-disk', gettext('This browser keeps nothing on disk (a private window?). Do not close the page while changes are unsaved.'), { tone: 'bad' });
}

// Working versions ---------------------------------------------------------------------------

export function showWorkingVersion() {
  store.on('working', paintWorking);
  store.addEventListener('progress', () => loadSoon());
  setInterval(loadWorking, LOOK);
  // A hint to the server, which looks at the clock itself.
  setInterval(() => saveWorking('timer'), 30 * 60_000);
  return loadWorking();
}

let due;

function loadSoon() {
  clearTimeout(due);
  due = setTimeout(loadWorking, 1500);
}

export async function loadWorking() {
  const { project, task } = store.state;
  const working = await get(`/projects/${project.id}/working-version`, { task_type: task }).catch(() => null);
  if (working) store.set({ working });
}

/** Asks for a working version now; `trigger` as in the API. */
export async function saveWorking(trigger = 'manual') {
  const { project, task, mayEdit } = store.state;
  if (!mayEdit) return;
  try {
    const answer = await post(`/projects/${project.id}/working-version/save`, { trigger, task_type: task });
    if (trigger === 'manual') say(answer.status === 'unchanged' ? gettext('Nothing changed since the last working version.') : gettext('A working version is being made.'), 'good');
    loadSoon();
  } catch (error) {
    if (trigger === 'manual') say(error.sentence ?? gettext('The server cannot be reached; your changes are kept here.'), 'bad');
  }
}

function paintWorking({ working }) {
  const place = byId('working-version').querySelector('span');
  const last = working.version?.version_number;
  const words = last ? format(gettext('%(number)s, %(time)s'), { number: last, time: moment(working.last_saved_at) }) : gettext('No working version yet');
  setText(place, working.last_error ? gettext('Working version failed') : words);
  byId('working-version').classList.toggle('danger', Boolean(working.last_error));
}
