// The publish dialog.

import { showDialog } from './dialog.js';

/** Opens the dialog; `context` is what docs/page.md says every dialog gets. */
export async function open(context) {
  const dialog = await showDialog('publish', context);
  return dialog;
}
