// Which tools a task has. A tool is made with the canvas (canvas.js) and is a plain object:
//   name, key (its letter), label(), hint(), cursor(point), busy(), down/move/up(point, event), cancel(),
//   and where it makes sense finish() (Enter), back() (Backspace), twice(point) (double click), onKey(code).

import { box } from './box.js';
import { circle } from './circle.js';
import { keypoints } from './keypoints.js';
import { pan } from './pan.js';
import { line, polygon, polyline } from './path.js';
import { rotatedBox } from './rotated-box.js';
import { select } from './select.js';

const OF_TASK = {
  detection: [box, rotatedBox],
  segmentation: [polygon],
  keypoint: [keypoints],
  line: [line],
  geometry: [polyline, circle],
  classification: [],
};

/** The tools of a task for somebody who may edit, or only those for looking. */
export function toolsFor(task, mayEdit, canvas) {
  const drawing = mayEdit ? (OF_TASK[task] ?? []) : [];
  return [select, pan, ...drawing].map((make) => make(canvas));
}
