// Choices the browser remembers. Private windows may refuse; then a choice lasts as long as the page.

export function read(name, storage = () => localStorage) {
  try {
    return storage().getItem(name);
  } catch {
    return null;
  }
}

export function write(name, value, storage = () => localStorage) {
  try {
    storage().setItem(name, value);
  } catch {
    // Without storage nothing is remembered.
  }
}
