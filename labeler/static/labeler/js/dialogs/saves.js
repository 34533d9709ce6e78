// Working versions are a tab of the version history.

import { open as openVersions } from './versions.js';

export const open = (context) => openVersions({ ...context, tab: 'working' });
