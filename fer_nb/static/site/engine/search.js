// Where BlazeFace looks: the whole picture, smaller squares where small faces are sought, and candidates again.
import { look, lookAgain } from "./blazeface.js";
import { merge, overlap, placed } from "./boxes.js";
import { cut, resize, rint } from "./pixels.js";

const SEEN = 7; // BlazeFace sees faces down to this part of its frame
const LOOKS = [[2, false], [2, true], [3, false], [3, true]]; // size of the window in faces, mirrored

const between = (to, n) => Array.from({ length: n }, (_, i) => Math.trunc(n > 1 ? (i * to) / (n - 1) : 0));

/** [[x, y, w, h]]: the whole picture, then ever smaller overlapping squares, cut where the picture is narrower. */
function tiles(height, width, minFace) {
  const found = [[0, 0, width, height]];
  for (let side = Math.max(height, width); side > minFace * SEEN; ) {
    side = Math.max(side / 2, minFace * SEEN);
    const w = Math.min(width, Math.ceil(side)), h = Math.min(height, Math.ceil(side));
    const [across, down] = [[w, width], [h, height]].map(([part, whole]) => (part === whole ? 1 : Math.ceil((whole - part) / (0.7 * part)) + 1));
    for (const y of between(height - h, down)) for (const x of between(width - w, across)) found.push([x, y, w, h]);
  }
  return found;
}

/** Rows of the faces in `image`: candidates of all tiles, then four more looks at each, one or none if it is sure. */
export async function search(net, image, minScore, minFace, known) {
  const oneLook = Math.max(image.width, image.height) <= minFace * SEEN, factor = oneLook ? 1 : Math.min(1, 32 / minFace);
  const w = Math.max(1, rint(image.width * factor)), h = Math.max(1, rint(image.height * factor)), back = [image.width / w, image.height / h];
  const small = resize(image, w, h, true), first = [], faces = [];
  for (const [x, y, tw, th] of tiles(h, w, oneLook ? minFace : Math.min(minFace, 32))) {
    const part = tw === w && th === h ? small : cut(small, x, y, tw, th);
    for (const o of await look(net, part, Math.min(0.3, minScore)))
      first.push([...placed(o, [x, y], back), Number(Math.min(o[2], o[3]) >= Math.max(tw, th) / 5)]);
  }
  for (const row of merge(first, { within: 2 })) {
    const box = row.slice(0, 13), certain = box[4] >= Math.max(0.75, minScore);
    const few = certain || known.some((o) => overlap(box, o)[0] > 0.4);
    faces.push(certain && row[13] ? box : await lookAgain(net, image, box, minScore, few ? LOOKS.slice(0, 1) : LOOKS));
  }
  return faces.filter(Boolean);
}
