// Pages without a workspace: only the colours can be changed.
import { watchTheme } from './theme.js';

watchTheme();
