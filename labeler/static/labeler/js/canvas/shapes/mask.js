// A mask in COCO's run lengths: {rle: {size: [h, w], counts}}. Shown, not edited here.

const pictures = new WeakMap();

export const mask = {
  readOnly: true,
  /** A canvas with the mask in the colour, for drawing at 0, 0. */
  picture({ rle }, colour) {
    const made = pictures.get(rle) ?? {};
    if (made.colour !== colour) Object.assign(made, { colour, canvas: painted(decoded(rle), rle.size, colour) });
    pictures.set(rle, made);
    return made.canvas;
  },
  draw() {},
  bounds: ({ rle }) => extent(rle),
  hit({ rle }, [x, y]) {
    const [rows, columns] = rle.size;
    if (x < 0 || y < 0 || x >= columns || y >= rows) return false;
    return decoded(rle)[Math.floor(x) * rows + Math.floor(y)] === 1;
  },
  handles: () => [],
  move: (geometry) => geometry,
  drag: (geometry) => geometry,
  size: ({ rle }) => `${rle.size[1]} × ${rle.size[0]}`,
};

const bitmaps = new WeakMap();

/** One byte a pixel, column by column. */
function decoded(rle) {
  if (bitmaps.has(rle)) return bitmaps.get(rle);
  const [rows, columns] = rle.size;
  const bits = new Uint8Array(rows * columns);
  let place = 0;
  runsOf(rle.counts).forEach((run, index) => {
    if (index % 2) bits.fill(1, place, place + run);
    place += run;
  });
  bitmaps.set(rle, bits);
  return bits;
}

/** The mask's pixels as upright stretches: [x, y, length]. */
export function stretches({ rle }) {
  const [rows] = rle.size;
  const found = [];
  let place = 0;
  runsOf(rle.counts).forEach((run, index) => {
    const end = place + run;
    // A run goes on at the top of the next column.
    while (index % 2 && place < end) {
      const length = Math.min(end - place, rows - (place % rows));
      found.push([Math.floor(place / rows), place % rows, length]);
      place += length;
    }
    place = end;
  });
  return found;
}

/** COCO's compressed text: 5 bits a character, the difference to the run before last. */
export function runsOf(counts) {
  if (Array.isArray(counts)) return counts;
  const runs = [];
  let place = 0;
  while (place < counts.length) {
    let [value, shift, piece] = [0, 0, 0];
    do {
      piece = counts.charCodeAt(place) - 48;
      value |= (piece & 0x1f) << shift;
      shift += 5;
      place += 1;
    } while (piece & 0x20);
    if (piece & 0x10) value |= -1 << shift;
    runs.push(runs.length > 2 ? value + runs.at(-2) : value);
  }
  return runs;
}

function painted(bits, [rows, columns], colour) {
  const canvas = Object.assign(document.createElement('canvas'), { width: columns, height: rows });
  const context = canvas.getContext('2d');
  const image = context.createImageData(columns, rows);
  const [red, green, blue] = [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16));
  for (let x = 0; x < columns; x += 1) {
    for (let y = 0; y < rows; y += 1) {
      if (bits[x * rows + y]) image.data.set([red, green, blue, 110], 4 * (y * columns + x));
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

const extents = new WeakMap();

function extent(rle) {
  if (!extents.has(rle)) extents.set(rle, measured(rle));
  return extents.get(rle);
}

function measured(rle) {
  const [rows] = rle.size;
  const bits = decoded(rle);
  let [left, top, right, bottom] = [Infinity, Infinity, -1, -1];
  bits.forEach((bit, place) => {
    if (!bit) return;
    const [x, y] = [Math.floor(place / rows), place % rows];
    [left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x), Math.max(bottom, y)];
  });
  return [left, top, right - left + 1, bottom - top + 1];
}
