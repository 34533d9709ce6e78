// The outbox on disk: one IndexedDB table of changes the server has not acknowledged.

const NAME = 'labeler';
const TABLE = 'changes';
let opening;

/** False once the browser refused to keep anything; then changes live in memory only and the page says so. */
export let keeps = true;

function database() {
  opening ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(TABLE, { keyPath: 'seq', autoIncrement: true });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error('The database is blocked.'));
  });
  return opening;
}

async function run(mode, act) {
  const db = await database();
  return new Promise((resolve, reject) => {
    const transaction = db.transaction(TABLE, mode, { durability: mode === 'readwrite' ? 'strict' : 'default' });
    const request = act(transaction.objectStore(TABLE));
    transaction.oncomplete = () => resolve(request?.result);
    transaction.onerror = transaction.onabort = () => reject(transaction.error ?? new Error('The write was refused.'));
  });
}

/** Everything kept, oldest first; [] when the browser keeps nothing. */
export async function all() {
  try {
    return await run('readonly', (table) => table.getAll());
  } catch (error) {
    return refused(error, []);
  }
}

let inMemory = -1;

/** Keeps a change and gives its number; resolves when it is on disk. */
export async function add(change) {
  const { seq, ...rest } = change;
  try {
    return await run('readwrite', (table) => table.add(rest));
  } catch (error) {
    return refused(error, inMemory--);
  }
}

/** Writes a kept change anew. */
export async function put(change) {
  if (change.seq < 0) return;
  await run('readwrite', (table) => table.put(change)).catch((error) => refused(error));
}

export async function remove(...numbers) {
  const kept = numbers.filter((seq) => seq > 0);
  if (!kept.length) return;
  await run('readwrite', (table) => kept.map((seq) => table.delete(seq)).at(-1)).catch((error) => refused(error));
}

function refused(error, value) {
  console.warn('The browser keeps no changes:', error);
  keeps = false;
  return value;
}
