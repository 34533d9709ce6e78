// Which images train, validate and test: shares for the project, and a person's choice for the present image.

import { get, post, send } from '../api.js';
import { gettext } from '../i18n.js';
import { imageNamed } from '../images.js';
import { sentence } from './files.js';

const SPLITS = ['train', 'val', 'test'];
const USUAL = [0.7, 0.2, 0.1];
const ADMINS = ['admin', 'owner'];

/** Fills the form and saves what is changed in it; those who may not change it see it. */
export async function showSplits(dialog, store) {
  const form = dialog.querySelector('.splits');
  const { project, image, role } = store.state;
  const view = { form, store, said: form.querySelector('.split-said'), image };
  fill(form, project.settings);
  const choice = form.elements['image-split'];
  for (const each of form.elements) each.disabled = !ADMINS.includes(role);
  choice.closest('label').hidden = !image;
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    saveShares(view);
  });
  choice.addEventListener('change', () => saveImage(view, choice));
  const found = image && await imageNamed(image.id).catch(() => null);
  if (found?.image) choice.value = found.image.split ?? '';
}

function fill(form, settings) {
  const ratios = settings?.split_ratios ?? USUAL;
  SPLITS.forEach((name, place) => {
    form.elements[name].value = Math.round(10000 * ratios[place]) / 100;
  });
}

async function saveShares({ form, store, said }) {
  const percent = SPLITS.map((name) => Number(form.elements[name].value));
  if (Math.abs(percent[0] + percent[1] + percent[2] - 100) > 1e-6) {
    said.textContent = gettext('The three must be 100 % together; nothing was changed.');
    form.elements.train.focus();
    return;
  }
  const { project } = store.state;
  const before = project.settings;
  try {
    // The rest of the settings stays as it is at the server by now.
    const { settings } = await get(`/projects/${project.id}`);
    const changed = await send('PATCH', `/projects/${project.id}`, { body: { settings: { ...settings, split_ratios: percent.map((share) => share / 100) } } });
    store.set({ project: { ...project, settings: changed.settings } });
    said.textContent = gettext('Changed. Files made from now on have it so; published versions stay as they are.');
  } catch (error) {
    fill(form, before);
    said.textContent = sentence(error);
  }
}

async function saveImage({ store, said, image }, choice) {
  try {
    await post(`/projects/${store.state.project.id}/images/split`, { image_ids: [image.id], split: choice.value || null });
    said.textContent = gettext('Changed. Files made from now on have it so; published versions stay as they are.');
  } catch (error) {
    said.textContent = sentence(error);
  }
}
