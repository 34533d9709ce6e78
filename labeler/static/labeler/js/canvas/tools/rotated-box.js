// A turned box: drag along one side, then move away from it and click.
import { gettext } from '../../i18n.js';
import { distance, middle, round } from '../geometry.js';

export const rotatedBox = (canvas) => {
  let side = null;
  let drawn = false;

  /** The box on the side a-b that reaches the point. */
  function geometry(point) {
    const [a, b] = side;
    const length = Math.max(distance(a, b), 0.01);
    const along = [(b[0] - a[0]) / length, (b[1] - a[1]) / length];
    const across = [-along[1], along[0]];
    const reach = (point[0] - a[0]) * across[0] + (point[1] - a[1]) * across[1];
    const [mx, my] = middle(a, b);
    const [cx, cy] = [mx + (across[0] * reach) / 2, my + (across[1] * reach) / 2];
    const height = Math.max(Math.abs(reach), 0.01);
    const angle = (Math.atan2(along[1], along[0]) * 180) / Math.PI;
    return { type: 'rotated_bbox', bbox: [cx - length / 2, cy - height / 2, length, height, angle].map(round) };
  }

  function reset() {
    side = null;
    drawn = false;
    canvas.painter.setDraft(null);
    canvas.measure(null);
  }

  return {
    name: 'rotated_bbox',
    key: 'R',
    label: () => gettext('Rotated box'),
    hint: () => (drawn ? gettext('Move away from the side, then click') : gettext('Drag along one side of the object')),
    cursor: () => 'crosshair',
    busy: () => side !== null,
    down(point) {
      if (!drawn) {
        side = [canvas.view.within(point), canvas.view.within(point)];
        return;
      }
      const made = geometry(point);
      reset();
      if (Math.min(made.bbox[2], made.bbox[3]) * canvas.view.scale >= 3) canvas.draw('rotated_bbox', made);
    },
    move(point) {
      if (!side) return;
      if (!drawn) side[1] = canvas.view.within(point);
      const made = drawn ? geometry(point) : { type: 'polyline', points: side };
      canvas.painter.setDraft({ annotation_type: made.type, geometry: made, class_id: canvas.activeClass(), unfinished: !drawn });
      if (drawn) canvas.measure('rotated_bbox', made);
    },
    up() {
      if (!side || drawn) return;
      drawn = distance(...side) * canvas.view.scale >= 6;
      if (!drawn) reset();
      canvas.showHint();
    },
    cancel: reset,
  };
};
