// Shapes as SVG, for dialogs that lay two states of an annotation over each other.

import { svg } from '../dom.js';
import { SHAPES, boundsOf } from '../canvas/shapes/index.js';
import { stretches } from '../canvas/shapes/mask.js';
import { store } from '../store.js';

/** The annotations that have a place on the image; labels of the whole image have none. */
export const drawable = (rows) => rows.filter((row) => row && SHAPES[row.annotation_type]);

/** One annotation as a path of the class `name`. */
export const drawn = (row, name) => svg('path', { class: name, d: pathOf(row) });

/** The stretch of the image around annotations, as a viewBox; null where none has a place. */
export function around(rows, least = 8) {
  const boxes = drawable(rows).map(boundsOf).filter(Boolean);
  if (!boxes.length) return null;
  const [left, top] = [Math.min(...boxes.map((box) => box[0])), Math.min(...boxes.map((box) => box[1]))];
  const [right, bottom] = [Math.max(...boxes.map((box) => box[0] + box[2])), Math.max(...boxes.map((box) => box[1] + box[3]))];
  const margin = 0.25 * Math.max(right - left, bottom - top, least);
  return [left - margin, top - margin, right - left + 2 * margin, bottom - top + 2 * margin].join(' ');
}

/** A shape as an SVG path, by letting it draw onto something that listens. */
function pathOf(row) {
  const words = [];
  const pen = {
    moveTo: (x, y) => words.push('M', x, y),
    lineTo: (x, y) => words.push('L', x, y),
    closePath: () => words.push('Z'),
    rect: (x, y, width, height) => words.push('M', x, y, 'h', width, 'v', height, 'h', -width, 'Z'),
    arc: (x, y, r) => words.push('M', x - r, y, 'a', r, r, 0, 1, 0, 2 * r, 0, 'a', r, r, 0, 1, 0, -2 * r, 0),
  };
  const shape = SHAPES[row.annotation_type];
  shape.draw(pen, row.geometry, store.state.classes.find((entry) => entry.class_id === row.class_id) ?? {});
  for (const dot of shape.dots?.(row.geometry) ?? []) pen.arc(dot.at[0], dot.at[1], 1.5);
  if (row.annotation_type === 'mask') for (const [x, y, length] of stretches(row.geometry)) pen.rect(x, y, 1, length);
  return words.join(' ');
}
