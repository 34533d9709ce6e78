// {center: [x, y], radius}
import { distance, round, roundPoint } from '../geometry.js';

export const circle = {
  draw(context, { center, radius }) {
    context.arc(center[0], center[1], radius, 0, 2 * Math.PI);
  },
  bounds: ({ center: [x, y], radius }) => [x - radius, y - radius, 2 * radius, 2 * radius],
  hit: ({ center, radius }, point, near) => distance(center, point) <= radius + near,
  handles({ center: [x, y], radius }) {
    return [[1, 0, 'ew'], [0, 1, 'ns'], [-1, 0, 'ew'], [0, -1, 'ns']].map(([u, v, cursor]) => ({ name: 'radius', at: [x + u * radius, y + v * radius], cursor }));
  },
  move(geometry, dx, dy) {
    return { ...geometry, center: roundPoint([geometry.center[0] + dx, geometry.center[1] + dy]) };
  },
  drag(geometry, handle, point) {
    return { ...geometry, radius: Math.max(1, round(distance(geometry.center, point))) };
  },
  size: ({ radius }) => `r ${Math.round(radius)}`,
};
