// Named points: {keypoints: [[x, y, v], ...]}; v is 0 (not given), 1 (occluded) or 2 (visible). The class has names and bones.
import { distance, envelope, round, toSegment } from '../geometry.js';

const shown = ({ keypoints: points }) => points.filter((point) => point[2] > 0);

export const keypoints = {
  open: true,
  /** Bones as lines; the points are drawn apart, so that occluded ones can be hollow. */
  draw(context, { keypoints: points }, { skeleton = [] }) {
    for (const [a, b] of bones(points, skeleton)) {
      context.moveTo(a[0], a[1]);
      context.lineTo(b[0], b[1]);
    }
  },
  dots: ({ keypoints: points }) => points.map((point, index) => ({ at: point, hollow: point[2] === 1, index })).filter(({ at }) => at[2] > 0),
  bounds: (geometry) => (shown(geometry).length ? envelope(shown(geometry)) : geometry.bbox ?? null),
  hit(geometry, point, near, { skeleton = [] }) {
    return shown(geometry).some((each) => distance(each, point) <= near * 1.6)
      || bones(geometry.keypoints, skeleton).some(([a, b]) => toSegment(point, a, b) <= near);
  },
  handles({ keypoints: points }) {
    return points.map((at, index) => ({ name: 'point', index, at, cursor: 'move', round: true, hollow: at[2] === 1 })).filter(({ at }) => at[2] > 0);
  },
  move({ bbox, ...geometry }, dx, dy) {
    return { ...geometry, keypoints: geometry.keypoints.map(([x, y, v]) => (v ? [round(x + dx), round(y + dy), v] : [x, y, v])) };
  },
  drag({ bbox, ...geometry }, handle, [x, y]) {
    return { ...geometry, keypoints: geometry.keypoints.map((point, index) => (index === handle.index ? [round(x), round(y), point[2]] : point)) };
  },
  /** Visible becomes occluded, occluded visible. */
  toggle(geometry, handle) {
    return { ...geometry, keypoints: geometry.keypoints.map(([x, y, v], index) => (index === handle.index ? [x, y, v === 2 ? 1 : 2] : [x, y, v])) };
  },
  size: (geometry) => `${shown(geometry).length} / ${geometry.keypoints.length}`,
};

function bones(points, skeleton) {
  return skeleton.map(([a, b]) => [points[a - 1], points[b - 1]]).filter(([a, b]) => a?.[2] > 0 && b?.[2] > 0);
}
