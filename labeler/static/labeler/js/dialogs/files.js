// What the dialogs about files and versions share: sizes, links, badges, waiting for long work.

import { ApiError, Unreachable, get } from '../api.js';
import { h } from '../dom.js';
import { gettext, number } from '../i18n.js';

const PAUSE = 700;
const UNITS = ['B', 'kB', 'MB', 'GB'];
const STATES = {
  exporting: ['warn', () => gettext('files are being made')], ready: ['good', () => gettext('ready')], failed: ['bad', () => gettext('failed')],
  pending: ['warn', () => gettext('official file waits')], synced: ['good', () => gettext('official')], superseded: ['', () => gettext('a newer one is official')],
};

/** Bytes for people: 1.2 MB. */
export function bytes(count) {
  let value = count;
  let unit = 0;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit && value < 10 ? value.toFixed(1) : number(Math.round(value))} ${UNITS[unit]}`;
}

/** A badge for a state of a version or of its official file; none for a state that tells nothing. */
export function stateBadge(state) {
  const [tone, words] = STATES[state] ?? [];
  return words ? h(`span.badge${tone ? `.${tone}` : ''}`, {}, words()) : null;
}

/** A link to each file with its size. */
export function fileLinks(files) {
  return h('div.files', {}, files.map((file) => h('a.button.small', {
    href: file.download_url, download: '', title: file.sha256 ? `SHA-256 ${file.sha256}` : null,
  }, `${(file.format ?? file.export_format).toUpperCase()} · ${bytes(file.size_bytes ?? file.file_size_bytes)}`)));
}

/** Asks again and again until `done(answer)`; gives up when the dialog is closed (null). */
export async function until(dialog, ask, done) {
  while (dialog.isConnected) {
    const answer = await ask();
    if (done(answer)) return answer;
    await new Promise((resolve) => { setTimeout(resolve, PAUSE); });
  }
  return null;
}

/** A job's result once it is done. Raises ApiError with the job's own sentence when it failed. */
export async function finishedJob(dialog, id, tell = () => {}) {
  const job = await until(dialog, () => get(`/jobs/${id}`), (answer) => {
    tell(answer.progress);
    return ['done', 'failed'].includes(answer.status);
  });
  if (job?.status === 'failed') throw new ApiError(500, { detail: told(job.error) });
  return job?.result ?? null;
}

const told = (error) => (typeof error === 'string' ? error : (error?.detail ?? error?.message ?? gettext('The work failed.')));

/** What went wrong as a sentence for the place it is about. */
export function sentence(error) {
  if (error.sentence) return error.sentence;
  if (error instanceof Unreachable) return gettext('The server cannot be reached; try again in a moment.');
  console.error(error);
  return gettext('Something on this page went wrong; load it anew and try again.');
}
