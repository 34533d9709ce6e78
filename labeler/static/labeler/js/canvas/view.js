// The stage: Konva's canvases, and where the image stands on them. Points are pixels of the image.

import { clamp } from './geometry.js';

const { Konva } = window;
const LEAST = 0.02;
const MOST = 60;
const MARGIN = 24;

export class View extends EventTarget {
  constructor(element, container) {
    super();
    this.element = element;
    this.stage = new Konva.Stage({ container, width: 1, height: 1, listening: false });
    this.layers = {};
    for (const name of ['picture', 'shapes', 'active']) {
      this.layers[name] = new Konva.Layer({ listening: false });
      this.stage.add(this.layers[name]);
    }
    this.picture = new Konva.Image({ x: 0, y: 0, listening: false });
    this.layers.picture.add(this.picture);
    this.size = [1, 1];
    this.fitted = true;
    new ResizeObserver(() => this.resize()).observe(element);
    this.resize();
  }

  get scale() {
    return this.stage.scaleX();
  }

  /** A line of one pixel in pixels of the image; thicker where the whole page is drawn larger (4K). */
  get pixel() {
    return this.unit / this.scale;
  }

  resize() {
    this.unit = Number.parseFloat(getComputedStyle(document.documentElement).fontSize) / 14;
    const { clientWidth: width, clientHeight: height } = this.element;
    if (!width || !height) return;
    this.stage.size({ width, height });
    if (this.fitted) this.fit();
    else this.moved();
  }

  /** Shows a picture, whole. */
  show(picture, width, height) {
    this.size = [width || 1, height || 1];
    this.picture.image(picture);
    this.picture.size({ width: this.size[0], height: this.size[1] });
    this.fit();
  }

  fit() {
    const [width, height] = this.size;
    const scale = clamp(Math.min((this.stage.width() - 2 * MARGIN) / width, (this.stage.height() - 2 * MARGIN) / height), LEAST, MOST);
    this.place(scale, (this.stage.width() - width * scale) / 2, (this.stage.height() - height * scale) / 2);
    this.fitted = true;
  }

  place(scale, x, y) {
    this.stage.scale({ x: scale, y: scale });
    this.stage.position({ x, y });
    this.moved();
  }

  /** Zooms by a factor; the point of the screen under the cursor stays. */
  zoom(factor, [x, y] = [this.stage.width() / 2, this.stage.height() / 2]) {
    const scale = clamp(this.scale * factor, LEAST, MOST);
    const by = scale / this.scale;
    this.fitted = false;
    this.place(scale, x - (x - this.stage.x()) * by, y - (y - this.stage.y()) * by);
  }

  pan(dx, dy) {
    this.fitted = false;
    const keep = 40;
    const [width, height] = this.size.map((side) => side * this.scale);
    this.place(
      this.scale,
      clamp(this.stage.x() + dx, keep - width, this.stage.width() - keep),
      clamp(this.stage.y() + dy, keep - height, this.stage.height() - keep),
    );
  }

  /** Brings a box of the image into sight if it is not. */
  reveal([x, y, w, h]) {
    const [sx, sy] = this.toScreen([x + w / 2, y + h / 2]);
    if (sx < 0 || sy < 0 || sx > this.stage.width() || sy > this.stage.height()) {
      this.pan(this.stage.width() / 2 - sx, this.stage.height() / 2 - sy);
    }
  }

  moved() {
    // Unsmoothed from 4 pixels a pixel on: then the pixels themselves are looked at.
    this.layers.picture.imageSmoothingEnabled(this.scale < 4);
    this.stage.batchDraw();
    this.dispatchEvent(new Event('moved'));
  }

  /** A pointer's place on the canvas. */
  onCanvas(event) {
    const { left, top } = this.element.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  }

  toImage([x, y]) {
    return [(x - this.stage.x()) / this.scale, (y - this.stage.y()) / this.scale];
  }

  toScreen([x, y]) {
    return [x * this.scale + this.stage.x(), y * this.scale + this.stage.y()];
  }

  /** The nearest point that is on the image. */
  within([x, y]) {
    return [clamp(x, 0, this.size[0]), clamp(y, 0, this.size[1])];
  }
}
