// An upright box: {bbox: [x, y, w, h]}.
import { boxBetween, inside, round, toPath } from '../geometry.js';

const PLACES = { nw: [0, 0], n: [0.5, 0], ne: [1, 0], e: [1, 0.5], se: [1, 1], s: [0.5, 1], sw: [0, 1], w: [0, 0.5] };
const CURSORS = { nw: 'nwse', se: 'nwse', ne: 'nesw', sw: 'nesw', n: 'ns', s: 'ns', e: 'ew', w: 'ew' };

const corners = ([x, y, w, h]) => [[x, y], [x + w, y], [x + w, y + h], [x, y + h]];

export const bbox = {
  draw(context, { bbox: box }) {
    context.rect(...box);
  },
  bounds: ({ bbox: box }) => box,
  hit({ bbox: box }, point, near) {
    return inside(point, corners(box)) || toPath(point, corners(box), true) <= near;
  },
  handles({ bbox: [x, y, w, h] }) {
    return Object.entries(PLACES).map(([name, [u, v]]) => ({ name, at: [x + u * w, y + v * h], cursor: CURSORS[name] }));
  },
  move(geometry, dx, dy) {
    const [x, y, w, h] = geometry.bbox;
    return { ...geometry, bbox: [round(x + dx), round(y + dy), w, h] };
  },
  drag(geometry, { name }, [px, py]) {
    const [x, y, w, h] = geometry.bbox;
    const [u, v] = PLACES[name];
    const a = [u === 0 ? px : x, v === 0 ? py : y];
    const b = [u === 1 ? px : x + w, v === 1 ? py : y + h];
    return { ...geometry, bbox: boxBetween(a, b) };
  },
  size: ({ bbox: [, , w, h] }) => `${Math.round(w)} × ${Math.round(h)}`,
};
