// Making elements. Texts are set as texts, so a name can never become markup.

const SVG = 'http://www.w3.org/2000/svg';
const ICONS = `${document.body.dataset.static ?? '/static/labeler/'}icons.svg`;

export const byId = (id) => document.getElementById(id);

/** `h('button.small', {title: 'x', onclick}, 'text', child)`: attributes, listeners (on...), dataset, texts, nodes. */
export function h(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split('.');
  const element = document.createElement(tag || 'div');
  if (classes.length) element.className = classes.join(' ');
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (key === 'dataset') Object.assign(element.dataset, value);
    else if (key === 'value') element.value = value;
    else element.setAttribute(key, value === true ? '' : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function icon(name, extra = '') {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('class', `icon ${extra}`.trim());
  svg.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS(SVG, 'use');
  use.setAttribute('href', `${ICONS}#${name}`);
  svg.append(use);
  return svg;
}

/** Changes the drawing of an icon made by `icon` or a template. */
export function setIcon(svg, name) {
  const use = svg.querySelector('use');
  const wanted = `${ICONS}#${name}`;
  if (use.getAttribute('href') !== wanted) use.setAttribute('href', wanted);
}

export function svg(name, attributes = {}) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

/** A colour square; the colour comes from data, so it is set as a property, not as a style attribute. */
export function swatch(colour) {
  const element = h('span.swatch', { 'aria-hidden': 'true' });
  element.style.setProperty('--colour', colour);
  return element;
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** True where keys belong to the element that has the focus. */
export function isTyping(target) {
  return target instanceof HTMLElement
    && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) && !/^(checkbox|radio|button)$/.test(target.type);
}
