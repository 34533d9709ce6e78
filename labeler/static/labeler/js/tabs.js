// Which tab of the browser a change belongs to: each tab sends its own, and those of tabs that are gone.

import { read, write } from './remembered.js';
import { uuid } from './uuid.js';

const ALIVE = 'labeler.tab.';
const BEAT = 4000;
const GONE = 13000;

export const tab = own();

function own() {
  const kept = read('labeler.tab', () => sessionStorage);
  // A duplicated tab copies the session: the first one keeps the name.
  const name = kept && !isAlive(kept) ? kept : uuid();
  write('labeler.tab', name, () => sessionStorage);
  return name;
}

/** True while that tab says that it is there. */
export function isAlive(name) {
  return Date.now() - Number(read(ALIVE + name) ?? 0) < GONE;
}

/** Says every few seconds that this tab is there, until the page goes. */
export function stayAlive() {
  const say = () => write(ALIVE + tab, String(Date.now()));
  say();
  setInterval(say, BEAT);
  addEventListener('pagehide', () => localStorage.removeItem(ALIVE + tab));
  addEventListener('pageshow', say);
  for (const key of Object.keys(localStorage)) {
    if (key.startsWith(ALIVE) && Date.now() - Number(localStorage[key]) > 60_000) localStorage.removeItem(key);
  }
}
