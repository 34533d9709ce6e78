// Drawing annotations: one Konva node each on the quiet layer; what is selected or being drawn on a layer of its own,
// so that dragging one of a thousand draws one.

import { SHAPES, shapeOf } from './shapes/index.js';

const { Konva } = window;
const PLAIN = '#9aa3b2';

export class Painter {
  nodes = new Map();
  rows = [];
  selected = new Set();
  hidden = new Set();
  classes = new Map();
  overridden = new Map();
  draft = null;

  constructor(view) {
    this.view = view;
    this.front = new Konva.Shape({ listening: false, sceneFunc: (context) => this.paintFront(context) });
    view.layers.active.add(this.front);
  }

  colourOf(row) {
    return this.classes.get(row.class_id)?.color ?? PLAIN;
  }

  labelOf(row) {
    return this.classes.get(row.class_id) ?? {};
  }

  /** Everything anew; nodes of annotations that did not change are kept. */
  show({ annotations, selected, hidden, classes }) {
    this.classes = new Map(classes.map((entry) => [entry.class_id, entry]));
    Object.assign(this, { rows: annotations, selected, hidden });
    const wanted = new Map(annotations.filter((row) => shapeOf(row) && !hidden.has(row.key) && !selected.has(row.key)).map((row) => [row.key, row]));
    for (const [key, node] of this.nodes) {
      if (!wanted.has(key)) {
        node.destroy();
        this.nodes.delete(key);
      }
    }
    for (const [key, row] of wanted) {
      if (!this.nodes.has(key)) this.nodes.set(key, this.node());
      this.nodes.get(key).row = row;
    }
    this.view.layers.shapes.batchDraw();
    this.view.layers.active.batchDraw();
  }

  node() {
    const node = new Konva.Shape({ listening: false, perfectDrawEnabled: false, sceneFunc: (context) => this.paint(context, node.row, {}) });
    this.view.layers.shapes.add(node);
    return node;
  }

  /** While a gesture lasts an annotation looks as the gesture has it. */
  override(key, geometry) {
    if (geometry) this.overridden.set(key, geometry);
    else this.overridden.delete(key);
    this.view.layers.active.batchDraw();
  }

  /** What is being drawn: {annotation_type, geometry, class_id} or null. */
  setDraft(draft) {
    this.draft = draft;
    this.view.layers.active.batchDraw();
  }

  geometryOf(row) {
    return this.overridden.get(row.key) ?? row.geometry;
  }

  paint(context, row, { strong = false, draft = false }) {
    const shape = SHAPES[row.annotation_type];
    const geometry = this.geometryOf(row);
    const colour = row.problem ? '#e5484d' : this.colourOf(row);
    const pixel = this.view.pixel;
    if (shape.picture) {
      context.drawImage(shape.picture(geometry, colour), 0, 0);
      return;
    }
    context.save();
    context.beginPath();
    shape.draw(context, geometry, this.labelOf(row));
    if (!shape.open && !draft) {
      context.globalAlpha = strong ? 0.24 : 0.1;
      context.fillStyle = colour;
      context._context.fill(shape.rule ?? 'nonzero');
      context.globalAlpha = 1;
    }
    context.lineJoin = 'round';
    // A dark edge under the colour keeps a shape visible on any picture.
    context.strokeStyle = 'rgba(8, 10, 14, 0.45)';
    context.lineWidth = (strong ? 4.4 : 3.4) * pixel;
    context.stroke();
    context.strokeStyle = colour;
    context.lineWidth = (strong ? 2.6 : 1.9) * pixel;
    if (row.annotation_state === 'draft' && !strong) context.setLineDash([7 * pixel, 4 * pixel]);
    context.stroke();
    context.setLineDash([]);
    for (const dot of shape.dots?.(geometry) ?? []) this.disc(context, dot.at, (strong ? 5 : 3.6) * pixel, colour, dot.hollow);
    context.restore();
  }

  disc(context, [x, y], radius, colour, hollow) {
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fillStyle = hollow ? 'rgba(8, 10, 14, 0.6)' : colour;
    context.fill();
    context.strokeStyle = hollow ? colour : 'rgba(8, 10, 14, 0.7)';
    context.lineWidth = 1.4 * this.view.pixel;
    context.stroke();
  }

  paintFront(context) {
    for (const row of this.rows) {
      if (this.selected.has(row.key) && !this.hidden.has(row.key) && shapeOf(row)) this.paint(context, row, { strong: true });
    }
    if (this.draft) this.paint(context, { annotation_state: 'confirmed', ...this.draft }, { strong: true, draft: this.draft.unfinished });
    for (const handle of this.handles()) this.handle(context, handle);
  }

  /** Handles of the one annotation that is selected. */
  handles() {
    const row = this.single();
    if (!row || this.draft || this.readOnly) return [];
    return shapeOf(row).handles(this.geometryOf(row), 1 / this.view.pixel).map((handle) => ({ ...handle, row }));
  }

  single() {
    if (this.selected.size !== 1) return null;
    const row = this.rows.find((each) => this.selected.has(each.key));
    return row && shapeOf(row) && !this.hidden.has(row.key) ? row : null;
  }

  handle(context, handle) {
    const pixel = this.view.pixel;
    const colour = this.colourOf(handle.row);
    if (handle.from) {
      context.beginPath();
      context.moveTo(...handle.from);
      context.lineTo(handle.at[0], handle.at[1]);
      context.strokeStyle = colour;
      context.lineWidth = 1.5 * pixel;
      context.stroke();
    }
    const half = (handle.faint ? 3 : 4.5) * pixel;
    context.beginPath();
    if (handle.round) context.arc(handle.at[0], handle.at[1], half * 1.15, 0, 2 * Math.PI);
    else context.rect(handle.at[0] - half, handle.at[1] - half, 2 * half, 2 * half);
    context.globalAlpha = handle.faint ? 0.65 : 1;
    context.fillStyle = handle.hollow ? '#11151b' : '#ffffff';
    context.fill();
    context.strokeStyle = colour;
    context.lineWidth = 1.8 * pixel;
    context.stroke();
    context.globalAlpha = 1;
  }

  // What is under the pointer ----------------------------------------------------------------

  handleAt(point) {
    const near = 9 * this.view.pixel;
    const close = this.handles().filter(({ at }) => Math.abs(at[0] - point[0]) <= near && Math.abs(at[1] - point[1]) <= near);
    const far = ({ at }) => Math.hypot(at[0] - point[0], at[1] - point[1]);
    return close.sort((a, b) => Number(Boolean(a.faint)) - Number(Boolean(b.faint)) || far(a) - far(b))[0] ?? null;
  }

  /** The smallest annotation at a point: what lies within a large one can be reached. */
  rowAt(point) {
    const near = 6 * this.view.pixel;
    let [found, least] = [null, Infinity];
    for (const row of this.rows) {
      const shape = shapeOf(row);
      if (!shape || this.hidden.has(row.key)) continue;
      const [x, y, w, h] = shape.bounds(row.geometry) ?? [0, 0, 0, 0];
      if (point[0] < x - 2 * near || point[1] < y - 2 * near || point[0] > x + w + 2 * near || point[1] > y + h + 2 * near) continue;
      const area = w * h;
      if (area < least && shape.hit(row.geometry, point, near, this.labelOf(row))) [found, least] = [row, area];
    }
    return found;
  }
}
