// Points and boxes in pixels of the image, y downwards.

export const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
export const round = (value) => Math.round(value * 100) / 100;
export const roundPoint = ([x, y]) => [round(x), round(y)];
export const middle = (a, b) => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
export const clamp = (value, least, most) => Math.min(Math.max(value, least), most);

/** [x, y, w, h] around points. */
export function envelope(points) {
  const xs = points.map((point) => point[0]);
  const ys = points.map((point) => point[1]);
  const [x, y] = [Math.min(...xs), Math.min(...ys)];
  return [x, y, Math.max(...xs) - x, Math.max(...ys) - y];
}

/** [x, y, w, h] between two corners. */
export const boxBetween = (a, b) => envelope([a, b]).map(round);

export function turned([x, y], [cx, cy], degrees) {
  const turn = (degrees * Math.PI) / 180;
  const [dx, dy] = [x - cx, y - cy];
  return [cx + dx * Math.cos(turn) - dy * Math.sin(turn), cy + dx * Math.sin(turn) + dy * Math.cos(turn)];
}

export function toSegment(point, a, b) {
  const length = distance(a, b) ** 2;
  const along = length ? clamp(((point[0] - a[0]) * (b[0] - a[0]) + (point[1] - a[1]) * (b[1] - a[1])) / length, 0, 1) : 0;
  return distance(point, [a[0] + along * (b[0] - a[0]), a[1] + along * (b[1] - a[1])]);
}

export function toPath(point, points, closed) {
  let nearest = Infinity;
  for (let index = closed ? 0 : 1; index < points.length; index += 1) {
    nearest = Math.min(nearest, toSegment(point, points.at(index - 1), points[index]));
  }
  return nearest;
}

/** Even-odd, as the canvas fills. */
export function inside(point, points) {
  let within = false;
  for (let i = 0, j = points.length - 1; i < points.length; j = i, i += 1) {
    const [a, b] = [points[i], points[j]];
    if (a[1] > point[1] !== b[1] > point[1] && point[0] < ((b[0] - a[0]) * (point[1] - a[1])) / (b[1] - a[1]) + a[0]) within = !within;
  }
  return within;
}
