// The labeling page begins here: who, which project, which task; then every part is put together.

import { SignedOut, Unreachable, get } from './api.js';
import { AnnotationsPanel } from './annotations-panel.js';
import { Canvas } from './canvas/canvas.js';
import * as changes from './changes.js';
import { showClasses } from './classes-panel.js';
import { watchClosing } from './closing.js';
import { dialogOpener } from './dialogs/dialog.js';
import { byId, h, setText } from './dom.js';
import { showTabs } from './history-panel.js';
import { gettext } from './i18n.js';
import * as images from './images.js';
import { ImagesList, statusWords } from './images-list.js';
import { showInspector } from './inspector.js';
import { watchKeyboard } from './keyboard.js';
import { announce } from './notices.js';
import { Outbox } from './outbox.js';
import { startPresence } from './presence.js';
import { sender } from './sender.js';
import { loadWorking, showSaveState, showWorkingVersion } from './status.js';
import { store } from './store.js';
import { stayAlive } from './tabs.js';
import { watchTheme } from './theme.js';

const { project: projectId, role } = document.body.dataset;
const wanted = new URLSearchParams(location.search);

async function begin() {
  watchTheme();
  stayAlive();
  const [me, project] = await Promise.all([get('/me'), get(`/projects/${projectId}`)]);
  const task = project.task_types.includes(wanted.get('task')) ? wanted.get('task') : project.task_types[0];
  store.set({ me, project, role, mayEdit: role !== 'viewer' && project.status !== 'archived' });
  const outbox = new Outbox({ user: me.id, send: sender(me.id) });
  images.useOutbox(outbox);
  changes.useOutbox(outbox);
  const canvas = new Canvas();
  const context = { store, outbox, canvas, images, changes, loadWorking };
  context.openDialog = dialogOpener(context);
  const imagesList = new ImagesList();
  new AnnotationsPanel({ outbox, view: canvas.view, openDialog: context.openDialog });
  showClasses();
  showInspector();
  showTabs(outbox);
  showSaveState(outbox);
  watchKeyboard({ canvas, openDialog: context.openDialog });
  watchClosing(outbox);
  wireButtons(context);
  showTasks(project, task, imagesList);
  // The list is asked for while the browser opens what it kept; an image is shown when both are there.
  await openTask(task, classesOf(project, task), imagesList, wanted.get('image'), outbox.start());
  startPresence();
  await showWorkingVersion();
  // For tests and for whoever helps a user: what the page knows.
  window.labeler = { store, outbox, canvas };
  document.body.dataset.ready = 'true';
}

/** In the order people gave them; an object would put numbers first. */
const classesOf = (project, task) => Object.values(project.task_classes[task] ?? {}).sort((a, b) => a.order - b.order || a.index - b.index);

async function openTask(task, classes, imagesList, image = null, kept = null) {
  store.set({ task, classes, activeClass: classes[0]?.class_id ?? null, annotations: [], selected: new Set(), image: null, imageState: 'loading' });
  await images.openProject(image, kept);
  imagesList.count();
}

function showTasks(project, task, imagesList) {
  const choice = byId('task');
  choice.replaceChildren(...project.task_types.map((each) => h('option', { value: each }, each)));
  choice.value = task;
  choice.hidden = project.task_types.length < 2;
  choice.addEventListener('change', () => {
    choice.blur();
    const chosen = choice.value;
    get(`/projects/${projectId}/classes`, { task_type: chosen })
      .then((classes) => chosen === choice.value && openTask(chosen, classes, imagesList, store.state.image?.id)).catch(failed);
  });
}

function wireButtons({ openDialog }) {
  const on = (id, act) => byId(id)?.addEventListener('click', act);
  for (const button of document.querySelectorAll('[data-dialog]')) button.addEventListener('click', () => openDialog(button.dataset.dialog));
  on('save-state', () => openDialog('unsent'));
  on('previous', () => images.step(-1));
  on('next', () => images.step(1));
  on('undo', () => changes.undo());
  on('redo', () => changes.undo({ redo: true }));
  on('copy-previous', () => changes.copyFromPrevious(images.previousRows));
  on('nothing-here', () => changes.nothingHere());
  on('reopen', () => changes.reopenImage());
  on('confirm-next', () => changes.confirmAndNext(images.goToNotStarted));
  store.on('image status', ({ image, status, mayEdit }) => {
    byId('reopen').hidden = !mayEdit || status?.status !== 'completed';
    setText(byId('image-name'), image?.id ?? '');
    byId('image-name').title = image?.id ?? '';
    const badge = byId('image-status');
    setText(badge, status ? statusWords(status.status) : '');
    badge.className = `badge ${{ completed: 'good', 'in-progress': 'warn' }[status?.status] ?? ''}`;
  });
  store.on('mayEdit', ({ mayEdit }) => {
    for (const id of ['undo', 'redo', 'copy-previous', 'nothing-here', 'confirm-next']) byId(id).disabled = !mayEdit;
  });
}

/** The page cannot be opened: why, and what to do. */
function failed(error) {
  console.error(error);
  if (error instanceof SignedOut) {
    location.href = `/accounts/login/?next=${encodeURIComponent(location.pathname + location.search)}`;
    return;
  }
  const sentence = error instanceof Unreachable ? gettext('The server cannot be reached. What you drew before is kept in this browser.') : (error.sentence ?? gettext('The page could not be opened.'));
  announce('failed', sentence, { tone: 'bad', actions: [[gettext('Try again'), () => location.reload()]] });
}

begin().catch(failed);
