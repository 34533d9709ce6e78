// Every key of the page in one table; the help dialog is drawn from it. Letters go by their place on the keyboard
// (event.code), so that they work while a Korean keyboard is switched on.

import * as changes from './changes.js';
import { keyOfPlace } from './classes-panel.js';
import { byId, isTyping } from './dom.js';
import { gettext } from './i18n.js';
import { goToNotStarted, previousRows, step } from './images.js';
import { saveWorking } from './status.js';
import { store } from './store.js';

const state = store.state;

/** [[title, [[keys, words], ...]], ...] */
export const helpSections = () => [
  [gettext('Images'), [
    ['Ctrl+Enter', gettext('Confirm everything and go to the next image not started')],
    ['A  D', gettext('Previous, next image')], ['N', gettext('Nothing here')], ['Shift+C', gettext('Copy from the previous image')],
    ['Shift+E', gettext('Open a completed image again')], ['/', gettext('Search images')],
  ]],
  [gettext('Tools'), [
    ['V', gettext('Select and change')], ['H  Space', gettext('Move the view')], ['B', gettext('Box')], ['R', gettext('Rotated box')],
    ['P', gettext('Polygon')], ['L', gettext('Line or polyline')], ['K', gettext('Keypoints')], ['C', gettext('Circle')],
    ['Enter', gettext('Finish the shape')], ['Backspace', gettext('One point back')], ['Esc', gettext('Give the shape up')],
  ]],
  [gettext('Annotations'), [
    ['1 … 9  0', gettext('Class of what is selected and drawn next')], ['← ↑ → ↓', gettext('Move by one pixel, with Shift by ten')],
    ['E', gettext('Confirm, or take it back')], ['Shift+V', gettext('Verify, or take it back (reviewers)')], ['Delete', gettext('Delete')], [',  .', gettext('Previous, next annotation')],
    ['Ctrl+A', gettext('Select all')], ['X', gettext('Hide or show all')], ['Ctrl+Z', gettext('Undo')], ['Ctrl+Shift+Z', gettext('Redo')],
  ]],
  [gettext('View'), [['F', gettext('Fit')], ['+  -', gettext('Zoom')], ['Ctrl+S', gettext('Make a working version now')], ['?', gettext('This help')]]],
];

export function watchKeyboard({ canvas, openDialog }) {
  document.addEventListener('keydown', (event) => {
    if (event.isComposing || document.querySelector('dialog[open]')) return;
    if (isTyping(event.target)) {
      if (event.key === 'Escape') byId('stage').focus();
      else if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) event.target.blur();
      else return;
    }
    const act = actionFor(event, canvas, openDialog);
    if (!act) return;
    event.preventDefault();
    act();
  });
  document.addEventListener('keyup', (event) => {
    if (event.code === 'Space') hold(canvas, false);
  });
  addEventListener('blur', () => hold(canvas, false));
}

function hold(canvas, held) {
  canvas.spaceHeld = held;
  if (!canvas.panning) canvas.setCursor(held ? 'grab' : canvas.tool?.cursor([-1, -1]) ?? 'default');
}

function actionFor(event, canvas, openDialog) {
  const { code, key } = event;
  if (event.altKey) return null;
  if (event.ctrlKey || event.metaKey) return withControl(event, canvas);
  const tool = canvas.tool;
  if (tool?.busy() && !event.shiftKey) {
    const inHand = whileDrawing(code, key, tool);
    if (inHand) return inHand;
  }
  // A button that has the focus keeps its own keys.
  if (event.target.closest?.('button, a, [role="tab"]') && /^(Enter|Space|Tab)$/.test(code)) return null;
  return drawn(event) ?? plain(event, canvas, openDialog);
}

function withControl({ code, key, shiftKey }, canvas) {
  if (key === 'Enter') return () => changes.confirmAndNext(goToNotStarted);
  if (code === 'KeyZ') return () => (canvas.tool?.busy() && canvas.tool.back ? canvas.tool.back() : changes.undo({ redo: shiftKey }));
  if (code === 'KeyY') return () => changes.undo({ redo: true });
  if (code === 'KeyA') return () => store.set({ selected: new Set(state.annotations.map((row) => row.key)) });
  if (code === 'KeyS') return () => saveWorking('manual');
  return null;
}

function whileDrawing(code, key, tool) {
  if (key === 'Escape') return () => tool.cancel();
  if (key === 'Enter' && tool.finish) return () => tool.finish();
  if (key === 'Backspace' && tool.back) return () => tool.back();
  return tool.onKey ? (/^Key/.test(code) && tool.onKey(code) ? () => {} : null) : null;
}

/** Keys for what is selected. */
function drawn(event) {
  const { code, key, shiftKey } = event;
  if (!state.selected.size) return null;
  const far = shiftKey ? 10 : 1;
  const arrow = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far] }[key];
  if (arrow) return () => changes.nudge(...arrow);
  if (key === 'Delete' || key === 'Backspace') return () => changes.removeSelected();
  if (code === 'KeyV' && shiftKey && changes.mayVerify()) return () => changes.together(() => state.selected.forEach((each) => changes.toggleVerified(each)));
  if (code === 'KeyE' && !shiftKey) return () => changes.together(() => state.selected.forEach((each) => changes.toggleConfirmed(each)));
  return null;
}

function plain(event, canvas, openDialog) {
  const { code, key, shiftKey } = event;
  const place = classPlace(event);
  if (place !== null) return state.classes[place] ? () => changes.chooseClass(state.classes[place].class_id) : null;
  if (code === 'Space') return () => hold(canvas, true);
  if (key === '?') return () => openDialog('help');
  if (key === '/') return () => byId('image-search').focus();
  if (key === '+' || key === '=') return () => canvas.view.zoom(1.3);
  if (key === '-') return () => canvas.view.zoom(1 / 1.3);
  if (key === 'Escape') return () => store.set({ selected: new Set() });
  if (key === ',' || key === '.') return () => selectNext(key === '.' ? 1 : -1);
  if (shiftKey) return { KeyC: () => changes.copyFromPrevious(previousRows), KeyH: () => openDialog('versions'), KeyE: () => changes.reopenImage() }[code] ?? null;
  const acts = {
    KeyA: () => step(-1), KeyD: () => step(1), PageUp: () => step(-1), PageDown: () => step(1), ArrowLeft: () => step(-1), ArrowRight: () => step(1),
    KeyN: () => changes.nothingHere(), KeyF: () => canvas.view.fit(), KeyX: hideAll,
  };
  const tool = canvas.tools.find((each) => `Key${each.key}` === code);
  return acts[code] ?? (tool ? () => canvas.choose(tool.name) : null);
}

function classPlace({ code, shiftKey }) {
  const digit = /^(?:Digit|Numpad)(\d)$/.exec(code)?.[1];
  if (digit === undefined || shiftKey) return null;
  return [...Array(10).keys()].find((index) => keyOfPlace(index) === digit);
}

function selectNext(by) {
  const keys = state.annotations.map((row) => row.key);
  if (!keys.length) return;
  const at = keys.indexOf([...state.selected][0]);
  store.set({ selected: new Set([keys[(at + by + keys.length) % keys.length]]) });
}

function hideAll() {
  store.set({ hidden: state.hidden.size ? new Set() : new Set(state.annotations.map((row) => row.key)) });
}
