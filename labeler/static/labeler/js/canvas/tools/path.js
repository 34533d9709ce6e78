// Points one after the other: polygons and lines.
import { gettext } from '../../i18n.js';
import { distance, roundPoint } from '../geometry.js';

/** A tool that takes at least `least` points and ends by itself after `most`. */
function path({ name, key, label, hint, least, most = Infinity, closed }) {
  return (canvas) => {
    let points = [];

    const geometry = (all) => (closed ? { type: name, rings: [all] } : { type: name, points: all });

    function show(point) {
      const all = point ? [...points, canvas.view.within(point)] : points;
      if (!points.length) canvas.painter.setDraft(null);
      else canvas.painter.setDraft({ annotation_type: all.length > 2 && closed ? 'polygon' : 'polyline', geometry: { points: all, rings: [all] }, class_id: canvas.activeClass(), unfinished: !closed || all.length < 3 });
    }

    function finish() {
      const made = points.filter((point, index) => !index || distance(point, points[index - 1]) > 0.01);
      points = [];
      canvas.painter.setDraft(null);
      if (made.length >= least) canvas.draw(name, geometry(made));
      else canvas.say(gettext('Too few points for this shape; nothing was drawn.'));
    }

    return {
      name, key, label, hint,
      cursor: () => 'crosshair',
      busy: () => points.length > 0,
      down(point, event) {
        const at = roundPoint(canvas.view.within(point));
        const near = 9 / canvas.view.scale;
        if (points.length >= least && (event.detail > 1 || (closed && distance(points[0], at) < near) || distance(points.at(-1), at) < near / 3)) {
          finish();
          return;
        }
        points.push(at);
        if (points.length >= most) finish();
        else show(point);
      },
      move: (point) => points.length && show(point),
      up() {},
      finish,
      /** One point back. */
      back() {
        points.pop();
        show(null);
      },
      cancel() {
        points = [];
        canvas.painter.setDraft(null);
      },
    };
  };
}

export const polygon = path({
  name: 'polygon', key: 'P', least: 3, closed: true, label: () => gettext('Polygon'),
  hint: () => gettext('Click each corner; Enter or a click on the first one closes it, Backspace takes one back'),
});
export const polyline = path({
  name: 'polyline', key: 'L', least: 2, closed: false, label: () => gettext('Polyline'),
  hint: () => gettext('Click each point; Enter or a double click ends it, Backspace takes one back'),
});
export const line = path({
  name: 'line', key: 'L', least: 2, most: 2, closed: false, label: () => gettext('Line'),
  hint: () => gettext('Click both ends'),
});
