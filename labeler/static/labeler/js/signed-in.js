// Signed in again in a tab of its own: tell the labeling pages, then go if we may.
const channel = new BroadcastChannel('labeler');
channel.postMessage({ kind: 'signed-in' });
setTimeout(() => window.close(), 400);
