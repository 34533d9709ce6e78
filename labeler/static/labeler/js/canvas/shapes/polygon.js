// Closed outlines: {rings: [[[x, y], ...], ...]} as the server writes them, or {points} as it also takes them.
import { envelope, inside, middle, roundPoint, toPath } from '../geometry.js';

const ringsOf = (geometry) => geometry.rings ?? [geometry.points];
const withRings = ({ points, ...geometry }, rings) => ({ ...geometry, rings });

export const polygon = {
  rule: 'evenodd',
  draw(context, geometry) {
    for (const ring of ringsOf(geometry)) {
      context.moveTo(...ring[0]);
      for (let index = 1; index < ring.length; index += 1) context.lineTo(ring[index][0], ring[index][1]);
      context.closePath();
    }
  },
  bounds: (geometry) => envelope(ringsOf(geometry).flat()),
  hit(geometry, point, near) {
    const within = ringsOf(geometry).filter((ring) => inside(point, ring)).length % 2 === 1;
    return within || ringsOf(geometry).some((ring) => toPath(point, ring, true) <= near);
  },
  handles(geometry) {
    return ringsOf(geometry).flatMap((ring, r) => [
      ...ring.map((at, index) => ({ name: 'point', ring: r, index, at, cursor: 'move', removable: ring.length > 3 })),
      ...ring.map((at, index) => ({ name: 'between', ring: r, index: index + 1, at: middle(at, ring[(index + 1) % ring.length]), faint: true, cursor: 'pointer' })),
    ]);
  },
  move(geometry, dx, dy) {
    return withRings(geometry, ringsOf(geometry).map((ring) => ring.map(([x, y]) => roundPoint([x + dx, y + dy]))));
  },
  drag(geometry, handle, point) {
    const rings = ringsOf(geometry).map((ring) => [...ring]);
    rings[handle.ring].splice(handle.index, handle.name === 'between' ? 0 : 1, roundPoint(point));
    return withRings(geometry, rings);
  },
  removePoint(geometry, handle) {
    return withRings(geometry, ringsOf(geometry).map((ring, r) => ring.filter((_, index) => r !== handle.ring || index !== handle.index)));
  },
  size: (geometry) => `${ringsOf(geometry).flat().length}`,
};
