// An open line: {points: [[x, y], ...]}. `line` is one of exactly two points.
import { envelope, middle, roundPoint, toPath } from '../geometry.js';

export const polyline = {
  open: true,
  draw(context, { points }) {
    context.moveTo(...points[0]);
    for (let index = 1; index < points.length; index += 1) context.lineTo(points[index][0], points[index][1]);
  },
  bounds: ({ points }) => envelope(points),
  hit: ({ points }, point, near) => toPath(point, points, false) <= near,
  handles({ points }) {
    return [
      ...points.map((at, index) => ({ name: 'point', index, at, cursor: 'move', removable: points.length > 2 })),
      ...points.slice(1).map((at, index) => ({ name: 'between', index: index + 1, at: middle(points[index], at), faint: true, cursor: 'pointer' })),
    ];
  },
  move(geometry, dx, dy) {
    return { ...geometry, points: geometry.points.map(([x, y]) => roundPoint([x + dx, y + dy])) };
  },
  drag(geometry, handle, point) {
    const points = [...geometry.points];
    points.splice(handle.index, handle.name === 'between' ? 0 : 1, roundPoint(point));
    return { ...geometry, points };
  },
  removePoint(geometry, handle) {
    return { ...geometry, points: geometry.points.filter((_, index) => index !== handle.index) };
  },
  size: ({ points }) => `${points.length}`,
};

export const line = {
  ...polyline,
  handles: (geometry) => polyline.handles(geometry).filter((handle) => handle.name === 'point').map((handle) => ({ ...handle, removable: false })),
};
