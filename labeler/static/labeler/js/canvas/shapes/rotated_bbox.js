// A turned box: {bbox: [x, y, w, h, degrees clockwise about its centre]}.
import { envelope, inside, round, toPath, turned } from '../geometry.js';

const PLACES = { nw: [-0.5, -0.5], n: [0, -0.5], ne: [0.5, -0.5], e: [0.5, 0], se: [0.5, 0.5], s: [0, 0.5], sw: [-0.5, 0.5], w: [-0.5, 0] };
const STALK = 26;

const centre = ([x, y, w, h]) => [x + w / 2, y + h / 2];

export function corners(box) {
  const [x, y, w, h, angle] = box;
  return [[x, y], [x + w, y], [x + w, y + h], [x, y + h]].map((point) => turned(point, centre(box), angle));
}

export const rotated_bbox = {
  draw(context, { bbox }) {
    const points = corners(bbox);
    context.moveTo(...points[0]);
    for (const point of points.slice(1)) context.lineTo(...point);
    context.closePath();
  },
  bounds: ({ bbox }) => envelope(corners(bbox)),
  hit({ bbox }, point, near) {
    return inside(point, corners(bbox)) || toPath(point, corners(bbox), true) <= near;
  },
  handles({ bbox }, scale) {
    const [, , w, h, angle] = bbox;
    const [cx, cy] = centre(bbox);
    const at = (u, v) => turned([cx + u * w, cy + v * h], [cx, cy], angle);
    const sides = Object.entries(PLACES).map(([name, [u, v]]) => ({ name, at: at(u, v), cursor: 'pointer' }));
    const top = turned([cx, cy - h / 2 - STALK / scale], [cx, cy], angle);
    return [...sides, { name: 'turn', at: top, from: at(0, -0.5), round: true, cursor: 'grab' }];
  },
  move(geometry, dx, dy) {
    const [x, y, w, h, angle] = geometry.bbox;
    return { ...geometry, bbox: [round(x + dx), round(y + dy), w, h, angle] };
  },
  drag(geometry, { name }, point, { shift }) {
    const [, , w, h, angle] = geometry.bbox;
    const [cx, cy] = centre(geometry.bbox);
    if (name === 'turn') {
      const free = (Math.atan2(point[1] - cy, point[0] - cx) * 180) / Math.PI + 90;
      const whole = shift ? Math.round(free / 15) * 15 : round(free);
      return { ...geometry, bbox: [...geometry.bbox.slice(0, 4), round(((whole + 540) % 360) - 180)] };
    }
    // The opposite side stays where it is.
    const [u, v] = PLACES[name];
    const [px, py] = turned(point, [cx, cy], -angle);
    const fixed = [cx - u * w, cy - v * h];
    const width = u ? Math.max(1, (px - fixed[0]) * Math.sign(u)) : w;
    const height = v ? Math.max(1, (py - fixed[1]) * Math.sign(v)) : h;
    const local = [u ? fixed[0] + (Math.sign(u) * width) / 2 : cx, v ? fixed[1] + (Math.sign(v) * height) / 2 : cy];
    const [nx, ny] = turned(local, [cx, cy], angle);
    return { ...geometry, bbox: [nx - width / 2, ny - height / 2, width, height].map(round).concat(angle) };
  },
  size: ({ bbox: [, , w, h, angle] }) => `${Math.round(w)} × ${Math.round(h)}, ${Math.round(angle)}°`,
};
