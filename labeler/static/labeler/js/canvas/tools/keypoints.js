// The points of a skeleton in its order: click places, Shift+click places an occluded one, S leaves one out.
import { format, gettext } from '../../i18n.js';
import { roundPoint } from '../geometry.js';

export const keypoints = (canvas) => {
  let points = [];

  const names = () => canvas.activeLabel()?.keypoints ?? [];
  const wanted = () => names().length || Infinity;

  function show(point) {
    const all = point ? [...points, [...canvas.view.within(point), 2]] : points;
    canvas.painter.setDraft(points.length ? { annotation_type: 'keypoints', geometry: { keypoints: all }, class_id: canvas.activeClass() } : null);
  }

  function place(point) {
    points.push(point);
    if (points.length >= wanted()) finish();
    else show(null);
    canvas.showHint();
  }

  function finish() {
    const all = [...points];
    while (all.length < names().length) all.push([0, 0, 0]);
    reset();
    if (all.some((point) => point[2] > 0)) canvas.draw('keypoints', { type: 'keypoints', keypoints: all });
    else canvas.say(gettext('Place at least one point.'));
  }

  function reset() {
    points = [];
    canvas.painter.setDraft(null);
    canvas.showHint();
  }

  return {
    name: 'keypoints',
    key: 'K',
    label: () => gettext('Keypoints'),
    hint() {
      const name = names()[points.length];
      const next = name ? format(gettext('Place %(name)s (%(place)s of %(count)s)'), { name, place: points.length + 1, count: names().length }) : gettext('Click each point, Enter ends');
      return `${next} · ${gettext('Shift+click: occluded, S: leave out, Backspace: back')}`;
    },
    cursor: () => 'crosshair',
    busy: () => points.length > 0,
    down: (point, event) => place([...roundPoint(canvas.view.within(point)), event.shiftKey ? 1 : 2]),
    move: (point) => points.length && show(point),
    up() {},
    finish,
    back() {
      points.pop();
      show(null);
      canvas.showHint();
    },
    onKey(code) {
      if (code !== 'KeyS') return false;
      place([0, 0, 0]);
      return true;
    },
    cancel: reset,
  };
};
