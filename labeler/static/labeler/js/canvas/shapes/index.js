// Shapes by annotation type. Each is a table of plain functions over a geometry:
//   draw(context, geometry, label)   adds to the path        bounds(geometry)           [x, y, w, h]
//   hit(geometry, point, near, label)                        handles(geometry, scale)   [{name, at, cursor, ...}]
//   move(geometry, dx, dy)           drag(geometry, handle, point, keys)                size(geometry)  words for people
// Geometries are never changed; a new one comes back. `label` is the class (skeleton), if there is one.

import { bbox } from './bbox.js';
import { circle } from './circle.js';
import { keypoints } from './keypoints.js';
import { mask } from './mask.js';
import { polygon } from './polygon.js';
import { line, polyline } from './polyline.js';
import { rotated_bbox } from './rotated_bbox.js';

export const SHAPES = { bbox, rotated_bbox, polygon, mask, polyline, line, circle, keypoints };

/** The shape of an annotation; undefined for labels of the whole image. */
export const shapeOf = (row) => SHAPES[row.annotation_type];
export const boundsOf = (row) => shapeOf(row)?.bounds(row.geometry) ?? null;
export const moved = (row, dx, dy) => shapeOf(row).move(withoutSize(row.geometry), dx, dy);

/** What an edit sends: the image's size was told with the first one. */
export function withoutSize({ image_width, image_height, ...geometry }) {
  return geometry;
}
