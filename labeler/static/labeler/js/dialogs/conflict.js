// Two people changed one annotation: both are shown, a person chooses.

import { h, svg } from '../dom.js';
import { format, gettext, moment } from '../i18n.js';
import { reloadAnnotations } from '../images.js';
import { kindWords, stateWords } from '../annotations-panel.js';
import { SHAPES } from '../canvas/shapes/index.js';
import { store } from '../store.js';
import { showDialog } from './dialog.js';
import { around, drawable, drawn } from './drawn.js';

export async function open({ outbox, change }) {
  const dialog = await showDialog('conflict', { wide: false });
  const theirs = change.problem?.current ?? null;
  const mine = mineOf(change, theirs);
  dialog.querySelector('.explanation').textContent = explanation(change, theirs);
  fill(dialog.querySelector('[data-side="mine"]'), mine, theirs);
  fill(dialog.querySelector('[data-side="theirs"]'), theirs, mine);
  for (const button of dialog.querySelectorAll('[data-choice]')) {
    button.addEventListener('click', async () => {
      dialog.close();
      await settle(outbox, change, button.dataset.choice, theirs);
    });
  }
  dialog.querySelector('[data-choice="mine"]').focus();
  return dialog;
}

function mineOf(change, theirs) {
  if (change.kind === 'delete') return null;
  return { ...(theirs ?? change.shown), ...change.body, updated_at: null };
}

function explanation(change, theirs) {
  if (!theirs) return gettext('Somebody deleted it after you began. Keep yours to draw it again, or take theirs to leave it deleted.');
  const who = { name: theirs.updated_by_name ?? theirs.updated_by, time: moment(theirs.updated_at) };
  const text = change.kind === 'delete' ? gettext('%(name)s changed it (%(time)s) after you deleted it. Keep yours to delete it nevertheless, or take theirs.')
    : gettext('%(name)s changed it (%(time)s) while your change was on its way. Nothing is lost: the other one stays in the history.');
  return format(text, who);
}

/** What a person chose: the change goes on from what the server has, or is given up. */
async function settle(outbox, change, choice, theirs) {
  if (choice === 'theirs') {
    outbox.giveUp(change);
    await reloadAnnotations().catch(() => {});
  } else if (theirs) {
    outbox.insist(change, theirs.version);
  } else {
    outbox.drawAgain(change);
  }
}

function fill(side, row, other) {
  const facts = row ? [
    [gettext('Class'), store.state.classes.find((entry) => entry.class_id === row.class_id)?.name ?? gettext('No class')],
    [gettext('Shape'), `${kindWords(row.annotation_type)} ${SHAPES[row.annotation_type]?.size(row.geometry) ?? ''}`],
    row.updated_at ? [gettext('State'), stateWords(row.annotation_state)] : null,
    ...Object.entries(row.attributes ?? {}).map(([name, value]) => [name, typeof value === 'string' ? value : JSON.stringify(value)]),
    row.notes ? [gettext('Notes'), row.notes] : null,
  ] : [[gettext('State'), gettext('deleted')]];
  side.querySelector('dl').replaceChildren(...facts.filter(Boolean).flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]));
  drawBoth(side.querySelector('svg'), row, other, side.dataset.side);
}

function drawBoth(place, row, other, name) {
  const shapes = drawable([other, row]);
  const box = around(shapes);
  if (!box) return;
  place.setAttribute('viewBox', box);
  const { image, picture } = store.state;
  if (picture) place.append(svg('image', { href: image.url, width: image.width ?? image.shownWidth, height: image.height ?? image.shownHeight }));
  place.append(...shapes.map((each) => drawn(each, each === row ? name : 'other')));
}
