// Words of the page. Django's catalogue (words.js) is loaded before; without it English stays.

export function gettext(text) {
  return window.gettext ? window.gettext(text) : text;
}

export function ngettext(one, many, count) {
  if (window.ngettext) return window.ngettext(one, many, count);
  return count === 1 ? one : many;
}

/** `format('%(count)s drafts', {count: 3})`; values are texts, never markup. */
export function format(text, values) {
  return text.replace(/%\((\w+)\)s/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

export const language = document.documentElement.lang || 'en';
const clock = new Intl.DateTimeFormat(language, { hour: '2-digit', minute: '2-digit' });
const day = new Intl.DateTimeFormat(language, { month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit' });
const numbers = new Intl.NumberFormat(language);

/** A moment (ISO text or Date) for people: the time alone when it is today. */
export function moment(value) {
  const date = new Date(value);
  return date.toDateString() === new Date().toDateString() ? clock.format(date) : day.format(date);
}

export function number(value) {
  return numbers.format(value);
}
