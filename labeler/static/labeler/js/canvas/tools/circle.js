// A circle: drag from its centre outwards.
import { gettext } from '../../i18n.js';
import { distance, round, roundPoint } from '../geometry.js';

export const circle = (canvas) => {
  let centre = null;

  const geometry = (point) => ({ type: 'circle', center: roundPoint(centre), radius: round(distance(centre, point)) });

  function reset() {
    centre = null;
    canvas.painter.setDraft(null);
    canvas.measure(null);
  }

  return {
    name: 'circle',
    key: 'C',
    label: () => gettext('Circle'),
    hint: () => gettext('Drag from the centre outwards'),
    cursor: () => 'crosshair',
    busy: () => centre !== null,
    down(point) {
      centre = canvas.view.within(point);
    },
    move(point) {
      if (!centre) return;
      const made = geometry(point);
      canvas.painter.setDraft({ annotation_type: 'circle', geometry: made, class_id: canvas.activeClass() });
      canvas.measure('circle', made);
    },
    up(point) {
      if (!centre) return;
      const made = geometry(point);
      reset();
      if (made.radius * canvas.view.scale >= 3) canvas.draw('circle', made);
    },
    cancel: reset,
  };
};
