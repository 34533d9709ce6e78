// What the page knows, in one place. Modules read `store.state`, write with `set`, and are told with `on`.

class Store extends EventTarget {
  state = {
    project: null, me: null, role: 'viewer', mayEdit: false,
    task: null, classes: [], activeClass: null,
    tool: 'select', hint: '',
    image: null, imageState: 'none', annotations: [], selected: new Set(), hidden: new Set(),
    status: null, filter: { status: '', search: '' }, total: 0, position: null,
    working: null, online: true, signedOut: false,
  };

  /** Takes new values and tells who listens to any of them; equal values are not told. */
  set(values) {
    const changed = Object.keys(values).filter((name) => this.state[name] !== values[name]);
    Object.assign(this.state, values);
    for (const name of changed) this.dispatchEvent(new Event(name));
  }

  /** Calls `act` once after a change of any of `names`, however many there were in this turn. */
  on(names, act) {
    let due = false;
    const later = () => {
      if (due) return;
      due = true;
      queueMicrotask(() => {
        due = false;
        act(this.state);
      });
    };
    for (const name of names.split(' ')) this.addEventListener(name, later);
  }

  /** A new array or set, so that listeners of `name` are told. */
  touch(name) {
    const value = this.state[name];
    this.set({ [name]: Array.isArray(value) ? [...value] : new Set(value) });
  }
}

export const store = new Store();
