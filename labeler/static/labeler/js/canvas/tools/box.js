// A box from corner to corner: drag, or click twice.
import { gettext } from '../../i18n.js';
import { boxBetween } from '../geometry.js';

export const box = (canvas) => {
  let from = null;
  let dragged = false;

  const geometry = (point) => ({ type: 'bbox', bbox: boxBetween(from, canvas.view.within(point)) });

  function finish(point) {
    const made = geometry(point);
    const [, , w, h] = made.bbox;
    reset();
    if (Math.min(w, h) * canvas.view.scale >= 3) canvas.draw('bbox', made);
  }

  function reset() {
    from = null;
    dragged = false;
    canvas.painter.setDraft(null);
    canvas.measure(null);
  }

  return {
    name: 'bbox',
    key: 'B',
    label: () => gettext('Box'),
    hint: () => gettext('Drag from corner to corner, or click both'),
    cursor: () => 'crosshair',
    busy: () => from !== null,
    down(point) {
      if (from) finish(point);
      else from = canvas.view.within(point);
    },
    move(point) {
      if (!from) return;
      const made = geometry(point);
      dragged ||= Math.max(made.bbox[2], made.bbox[3]) * canvas.view.scale > 6;
      canvas.painter.setDraft({ annotation_type: 'bbox', geometry: made, class_id: canvas.activeClass() });
      canvas.measure('bbox', made);
    },
    up(point) {
      if (from && dragged) finish(point);
    },
    cancel: reset,
  };
};
