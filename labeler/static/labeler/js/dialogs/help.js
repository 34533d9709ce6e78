// Keyboard help, from the table the keyboard itself uses.

import { h } from '../dom.js';
import { helpSections } from '../keyboard.js';
import { showDialog } from './dialog.js';

export async function open() {
  const dialog = await showDialog('help');
  dialog.querySelector('.keys').replaceChildren(...helpSections().map(([title, entries]) =>
    h('section', {}, h('h3', {}, title), h('dl', {}, entries.flatMap(([keys, words]) => [h('dt', {}, keyed(keys)), h('dd', {}, words)])))));
  return dialog;
}

const keyed = (keys) => keys.split('  ').flatMap((each) => [h('kbd', {}, each), ' ']);
