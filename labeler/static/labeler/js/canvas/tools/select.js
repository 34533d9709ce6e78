// Picking, moving and reshaping what is there.
import { gettext } from '../../i18n.js';
import { moved, shapeOf, withoutSize } from '../shapes/index.js';

export const select = (canvas) => {
  let grip = null;

  function start(point, event) {
    const handle = canvas.mayEdit() ? canvas.painter.handleAt(point) : null;
    if (handle) {
      grip = { handle, row: handle.row, from: point, geometry: withoutSize(handle.row.geometry) };
      return;
    }
    const row = canvas.painter.rowAt(point);
    canvas.pick(row, event.shiftKey || event.ctrlKey || event.metaKey);
    const movable = row && canvas.mayEdit() && !shapeOf(row).readOnly && canvas.isSelected(row.key);
    grip = movable ? { row, from: point, rows: canvas.selectedRows() } : null;
  }

  function drag(point, event) {
    if (grip.handle) {
      grip.now = shapeOf(grip.row).drag(grip.geometry, grip.handle, canvas.view.within(point), { shift: event.shiftKey });
      canvas.painter.override(grip.row.key, grip.now);
      canvas.measure(grip.row.annotation_type, grip.now);
      return;
    }
    const [dx, dy] = [point[0] - grip.from[0], point[1] - grip.from[1]];
    // A hand that shakes moves nothing.
    if (!grip.moving && Math.hypot(dx, dy) * canvas.view.scale < 3) return;
    grip.moving = true;
    grip.moves = new Map(grip.rows.map((row) => [row.key, moved(row, dx, dy)]));
    for (const [key, geometry] of grip.moves) canvas.painter.override(key, geometry);
  }

  function end() {
    const done = grip;
    grip = null;
    if (done?.now) canvas.edit(done.row.key, done.now);
    if (done?.moves) canvas.together(() => done.moves.forEach((geometry, key) => canvas.edit(key, geometry)));
    canvas.painter.overridden.clear();
    canvas.measure(null);
  }

  return {
    name: 'select',
    key: 'V',
    label: () => gettext('Select and change'),
    hint: () => gettext('Click to select, Shift+click for several, drag to move'),
    cursor(point) {
      const handle = canvas.mayEdit() && canvas.painter.handleAt(point);
      if (handle) return handle.cursor;
      const row = canvas.painter.rowAt(point);
      return row ? (canvas.isSelected(row.key) ? 'move' : 'pointer') : 'default';
    },
    busy: () => Boolean(grip?.now || grip?.moving),
    down: start,
    move: (point, event) => grip && drag(point, event),
    up: end,
    cancel() {
      grip = null;
      canvas.painter.overridden.clear();
      canvas.refresh();
    },
    /** Double click: a corner goes, a keypoint becomes occluded or visible. */
    twice(point) {
      const handle = canvas.mayEdit() && canvas.painter.handleAt(point);
      const shape = handle && shapeOf(handle.row);
      if (handle?.removable) canvas.edit(handle.row.key, shape.removePoint(withoutSize(handle.row.geometry), handle));
      else if (handle && shape.toggle) canvas.edit(handle.row.key, shape.toggle(withoutSize(handle.row.geometry), handle));
    },
  };
};
