// Two people changed one annotation: both are shown, a person chooses.

import { h, svg } from '../dom.js';
import { format, gettext, moment } from '../i18n.js';
import { reloadAnnotations } from '../images.js';
import { kindWords, stateWords } from '../annotations-panel.js';
import { SHAPES } from '../canvas/shapes/index.js';
import { store } from '../store.js';
import { showDialog } from './dialog.js';

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
  const shapes = [other, row].filter((each) => each && SHAPES[each.annotation_type]);
  if (!shapes.length) return;
  const boxes = shapes.map((each) => SHAPES[each.annotation_type].bounds(each.geometry)).filter(Boolean);
  const [left, top] = [Math.min(...boxes.map((box) => box[0])), Math.min(...boxes.map((box) => box[1]))];
  const [right, bottom] = [Math.max(...boxes.map((box) => box[0] + box[2])), Math.max(...boxes.map((box) => box[1] + box[3]))];
  const margin = 0.25 * Math.max(right - left, bottom - top, 8);
  place.setAttribute('viewBox', [left - margin, top - margin, right - left + 2 * margin, bottom - top + 2 * margin].join(' '));
  const { image, picture } = store.state;
  if (picture) place.append(svg('image', { href: picture.src, width: image.width ?? image.shownWidth, height: image.height ?? image.shownHeight }));
  for (const each of shapes) place.append(svg('path', { class: each === row ? name : 'other', d: pathOf(each) }));
}

/** A shape as an SVG path, by letting it draw onto something that listens. */
function pathOf(row) {
  const words = [];
  const pen = {
    moveTo: (x, y) => words.push('M', x, y),
    lineTo: (x, y) => words.push('L', x, y),
    closePath: () => words.push('Z'),
    rect: (x, y, w, h_) => words.push('M', x, y, 'h', w, 'v', h_, 'h', -w, 'Z'),
    arc: (x, y, r) => words.push('M', x - r, y, 'a', r, r, 0, 1, 0, 2 * r, 0, 'a', r, r, 0, 1, 0, -2 * r, 0),
  };
  const shape = SHAPES[row.annotation_type];
  shape.draw(pen, row.geometry, store.state.classes.find((entry) => entry.class_id === row.class_id) ?? {});
  for (const dot of shape.dots?.(row.geometry) ?? []) pen.arc(dot.at[0], dot.at[1], 1.5);
  return words.join(' ');
}
