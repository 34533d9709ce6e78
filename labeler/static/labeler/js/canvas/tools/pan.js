// Moving the view. Space or the middle button does the same with any tool.
import { gettext } from '../../i18n.js';

export const pan = () => ({
  name: 'pan',
  key: 'H',
  label: () => gettext('Move the view'),
  hint: () => gettext('Drag to move the view; hold Space to do so with any tool'),
  cursor: () => 'grab',
  pans: true,
  busy: () => false,
  cancel() {},
});
