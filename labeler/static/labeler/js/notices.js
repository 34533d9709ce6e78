// Sentences to a person: short ones over the canvas, lasting ones in a line under the bar.

import { byId, h, icon, setText } from './dom.js';

let timer;

/** A sentence over the canvas, gone after some seconds; `tone`: '', 'good' or 'bad'. */
export function say(sentence, tone = '') {
  const place = byId('stage-message');
  place.className = `stage-message ${tone}`;
  setText(place, sentence);
  place.hidden = false;
  clearTimeout(timer);
  timer = setTimeout(() => {
    place.hidden = true;
  }, 3500 + 45 * sentence.length);
}

const lasting = new Map();

/** A line that stays until `withdraw(name)`. `actions`: [[text, act or address], ...]. */
export function announce(name, sentence, { tone = 'warn', actions = [] } = {}) {
  const buttons = actions.map(([text, act]) =>
    (typeof act === 'string'
      ? h('a.button.small', { href: act, target: '_blank', rel: 'opener' }, text)
      : h('button.small', { type: 'button', onclick: act }, text)));
  const line = h(`div.note.${tone}`, { role: tone === 'bad' ? 'alert' : 'status' }, icon('warning'), h('span', {}, sentence), buttons);
  lasting.get(name)?.remove();
  lasting.set(name, line);
  byId('notices').append(line);
}

export function withdraw(name) {
  lasting.get(name)?.remove();
  lasting.delete(name);
}
