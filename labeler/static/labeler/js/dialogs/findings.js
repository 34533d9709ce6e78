// What stands in the way of a publish and what its publisher should know, in the reader's language.

import { format, gettext, ngettext, number } from '../i18n.js';

const WORDS = {
  unknown_class: (count) => ngettext('%(count)s annotation has no class; give it one.', '%(count)s annotations have no class; give them one.', count),
  image_size_unknown: (count) => ngettext('%(count)s image has no known size; an administrator can read it again or set it.', '%(count)s images have no known size; an administrator can read them again or set it.', count),
  shape_outside_image: (count) => ngettext('%(count)s shape lies wholly outside its image; move or delete it.', '%(count)s shapes lie wholly outside their image; move or delete them.', count),
  mask_size: (count) => ngettext('%(count)s mask is of another size than its image; draw it again.', '%(count)s masks are of another size than their image; draw them again.', count),
  keypoint_count: (count) => ngettext('%(count)s annotation has more or fewer keypoints than its class names; mend it or the class.', '%(count)s annotations have more or fewer keypoints than their class names; mend them or the class.', count),
  nothing_to_publish: () => gettext('No image has anything to publish; confirm some.'),
  unfinished_images: (count) => ngettext('%(count)s image is not completed.', '%(count)s images are not completed.', count),
  drafts_left_out: (count) => ngettext('%(count)s draft is left out; confirm it or choose "Drafts too".', '%(count)s drafts are left out; confirm them or choose "Drafts too".', count),
  confirmed_left_out: (count) => ngettext('%(count)s confirmed annotation is left out, as nobody verified it.', '%(count)s confirmed annotations are left out, as nobody verified them.', count),
  count_shrunk: (count) => ngettext('%(count)s annotation fewer than in the last version, more than a fifth of it.', '%(count)s annotations fewer than in the last version, more than a fifth of it.', count),
  tiny_boxes: (count) => ngettext('%(count)s new or changed shape is tiny.', '%(count)s new or changed shapes are tiny.', count),
  duplicate_shapes: (count) => ngettext('%(count)s new or changed shape repeats another of the same class on the same image.', '%(count)s new or changed shapes repeat another of the same class on the same image.', count),
};

/** A finding as a sentence; one that is not known here as the server says it. */
export function findingWords({ code, count, detail }) {
  return WORDS[code] ? format(WORDS[code](count), { count: number(count) }) : detail;
}
