// The middle of the page: pointer and wheel become gestures of the tool in hand.

import { byId, h, icon, setText } from '../dom.js';
import * as changes from '../changes.js';
import { askBeforeLeaving } from '../images.js';
import { gettext } from '../i18n.js';
import { say } from '../notices.js';
import { store } from '../store.js';
import { Painter } from './painter.js';
import { SHAPES, shapeOf } from './shapes/index.js';
import { toolsFor } from './tools/index.js';
import { View } from './view.js';

const state = store.state;

export class Canvas {
  constructor() {
    this.element = byId('stage');
    this.view = new View(this.element, byId('konva'));
    this.painter = new Painter(this.view);
    this.tools = [];
    this.spaceHeld = false;
    this.panning = null;
    this.gesture = null;
    this.listen();
    askBeforeLeaving(() => this.mayLeave());
    store.on('picture image imageState', () => this.showPicture());
    store.on('annotations selected hidden classes', () => this.refresh());
    store.on('task mayEdit', () => this.makeTools());
    store.on('tool', () => this.showTools());
    store.on('activeClass', () => this.showHint());
    this.view.addEventListener('moved', () => setText(byId('zoom'), `${Math.round(this.view.scale * 100)} %`));
  }

  // What tools ask for -----------------------------------------------------------------------

  mayEdit = () => state.mayEdit;
  activeClass = () => state.activeClass;
  activeLabel = () => state.classes.find((entry) => entry.class_id === state.activeClass);
  isSelected = (key) => state.selected.has(key);
  selectedRows = () => state.annotations.filter((row) => state.selected.has(row.key) && shapeOf(row) && !shapeOf(row).readOnly);
  draw = (type, geometry) => changes.draw(type, geometry);
  edit = (key, geometry) => changes.edit(key, { geometry });
  together = changes.together;
  say = (sentence) => say(sentence, 'bad');

  pick(row, several) {
    if (!row) {
      if (!several) store.set({ selected: new Set() });
      return;
    }
    if (several) {
      const selected = new Set(state.selected);
      if (!selected.delete(row.key)) selected.add(row.key);
      store.set({ selected });
    } else if (!state.selected.has(row.key)) {
      store.set({ selected: new Set([row.key]) });
    }
    this.refresh();
  }

  /** Sizes while something is drawn or changed; null goes back to the hint. */
  measure(type, geometry) {
    setText(byId('hint'), type ? SHAPES[type].size(geometry) : this.tool?.hint() ?? '');
  }

  showHint() {
    setText(byId('hint'), state.imageState === 'ready' ? this.tool?.hint() ?? '' : '');
  }

  get tool() {
    return this.tools.find((tool) => tool.name === state.tool) ?? this.tools[0];
  }

  get hasPoints() {
    return Boolean(this.tool?.busy() && this.tool.finish);
  }

  /** Points placed one by one are not thrown away by a key; a box begun is no work lost. */
  mayLeave() {
    if (!this.hasPoints) return true;
    this.say(gettext('Finish the shape first (Enter), or give it up (Esc).'));
    return false;
  }

  // Showing ----------------------------------------------------------------------------------

  showPicture() {
    if (this.imageId !== state.image?.id) this.cancel();
    this.imageId = state.image?.id;
    if (state.imageState === 'ready' && state.image) {
      const { image, picture } = state;
      if (this.shown !== picture) this.view.show(picture, image.width ?? image.shownWidth, image.height ?? image.shownHeight);
      this.shown = picture;
    } else {
      this.tool?.cancel();
      this.shown = null;
      this.view.show(null, state.image?.width ?? 1, state.image?.height ?? 1);
    }
    this.element.setAttribute('aria-busy', String(state.imageState === 'loading'));
    this.showHint();
    this.refresh();
  }

  refresh() {
    this.painter.readOnly = !state.mayEdit;
    this.painter.show(state);
  }

  makeTools() {
    this.tool?.cancel();
    this.tools = toolsFor(state.task, state.mayEdit, this);
    byId('tools').replaceChildren(...this.tools.map((tool, index) => this.button(tool, index)));
    const drawing = this.tools[2]?.name ?? 'select';
    store.set({ tool: this.tools.some((tool) => tool.name === state.tool) && state.tool !== 'select' ? state.tool : drawing });
    this.showTools();
  }

  button(tool) {
    return h('button', {
      type: 'button', dataset: { tool: tool.name }, title: `${tool.label()} (${tool.key})`, 'aria-label': tool.label(),
      'aria-keyshortcuts': tool.key, onclick: () => this.choose(tool.name),
    }, icon(tool.name), h('kbd', { 'aria-hidden': 'true' }, tool.key));
  }

  choose(name) {
    if (!this.tools.some((tool) => tool.name === name)) return;
    this.tool?.cancel();
    store.set({ tool: name });
    this.element.focus({ preventScroll: true });
  }

  showTools() {
    for (const button of byId('tools').querySelectorAll('button')) {
      button.setAttribute('aria-pressed', String(button.dataset.tool === this.tool?.name));
    }
    this.showHint();
    this.setCursor(this.tool?.cursor([-1, -1]) ?? 'default');
  }

  setCursor(name) {
    if (this.element.dataset.cursor !== name) this.element.dataset.cursor = name;
  }

  // Gestures ---------------------------------------------------------------------------------

  listen() {
    const { element } = this;
    element.addEventListener('pointerdown', (event) => this.down(event));
    element.addEventListener('pointermove', (event) => this.move(event));
    element.addEventListener('pointerup', (event) => this.up(event));
    element.addEventListener('pointercancel', () => this.hasPoints || this.cancel());
    element.addEventListener('dblclick', (event) => this.selecting()?.twice(this.at(event)));
    element.addEventListener('contextmenu', (event) => event.preventDefault());
    element.addEventListener('wheel', (event) => this.wheel(event), { passive: false });
    byId('zoom-in').addEventListener('click', () => this.view.zoom(1.3));
    byId('zoom-out').addEventListener('click', () => this.view.zoom(1 / 1.3));
    byId('zoom-fit').addEventListener('click', () => this.view.fit());
  }

  at(event) {
    return this.view.toImage(this.view.onCanvas(event));
  }

  selecting() {
    return this.tools.find((tool) => tool.name === 'select');
  }

  /** With a drawing tool in hand the handles of what is selected still work. */
  toolFor(point) {
    const { tool } = this;
    if (tool.name !== 'select' && !tool.busy() && state.mayEdit && this.painter.handleAt(point)) return this.selecting();
    return tool;
  }

  down(event) {
    if (state.imageState !== 'ready' || (event.button !== 0 && event.button !== 1)) return;
    this.element.focus({ preventScroll: true });
    this.element.setPointerCapture(event.pointerId);
    if (event.button === 1 || this.spaceHeld || this.tool.pans) {
      this.panning = [event.clientX, event.clientY];
      this.setCursor('grabbing');
      return;
    }
    const point = this.at(event);
    this.gesture = this.toolFor(point);
    this.gesture.down(point, event);
  }

  move(event) {
    if (this.panning) {
      this.view.pan(event.clientX - this.panning[0], event.clientY - this.panning[1]);
      this.panning = [event.clientX, event.clientY];
      return;
    }
    if (state.imageState !== 'ready') return;
    const point = this.at(event);
    const tool = this.gesture ?? this.toolFor(point);
    tool.move?.(point, event);
    if (!this.gesture) this.setCursor(this.spaceHeld ? 'grab' : tool.cursor(point));
  }

  up(event) {
    if (this.panning) {
      this.panning = null;
      this.setCursor(this.tool.cursor(this.at(event)));
      return;
    }
    const tool = this.gesture;
    this.gesture = null;
    tool?.up(this.at(event), event);
  }

  cancel() {
    this.panning = null;
    this.gesture = null;
    for (const tool of this.tools) tool.cancel();
  }

  wheel(event) {
    event.preventDefault();
    if (state.imageState !== 'ready') return;
    const lines = event.deltaMode === 1 ? 18 : 1;
    if (event.shiftKey && !event.ctrlKey) this.view.pan(-(event.deltaX || event.deltaY) * lines, 0);
    else this.view.zoom(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0016)), this.view.onCanvas(event));
  }
}
