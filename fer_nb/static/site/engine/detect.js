// The faces of a picture, and their crops framed as the networks learned them; as fer_nb.inference.detect.
import { pass } from "./blazeface.js";
import { detection, meanOf, merge, overlap, putBack, rollBetween, rowOf, turned, turnOf } from "./boxes.js";
import { numbers } from "./numbers.js";
import { cutTurned, grey, rint, square } from "./pixels.js";
import { search } from "./search.js";

/** The face after one more look at it, upright; as it was where that look finds none. */
async function lookUpright(net, image, face) {
  const { window: side, same } = numbers.upright;
  const [x, y, w, h] = face.box, cx = x + w / 2, cy = y + h / 2, wide = 2 * Math.max(w, h);
  const seen = await pass(net, cutTurned(image, cx, cy, wide, face.roll, side), numbers.search.floor);
  const [first] = seen.filter((o) => overlap([side / 4, side / 4, side / 2, side / 2], o)[0] > same);
  if (!first) return face;
  const row = putBack(first, cx, cy, wide, face.roll, side);
  row[4] = face.score;
  return detection(row);
}

/** The same face, its box and key points placed by looks at the upright face if it is turned. */
async function upright(net, image, face) {
  for (let i = 0; i < numbers.upright.passes; i++) {
    if (!turnOf(face.roll)) return face;
    const again = await lookUpright(net, image, face);
    if (Math.abs(rollBetween(0, again.roll - face.roll, 1)) <= numbers.upright.near) return detection(meanOf([rowOf(face), rowOf(again)]));
    face = again;
  }
  return face;
}

/** The smallest face that is sought by default. */
export function smallestFace(w, h) {
  const { photo, long, short } = numbers.smallest;
  return Math.max(photo, Math.min(Math.max(w, h) / long, Math.min(w, h) / short));
}

/** The faces in `image`: [{box, score, points, roll}], the surest first. */
export async function detectFaces(net, image, { minFace, known = [] } = {}) {
  const { width: w, height: h } = image, least = Math.max(minFace ?? smallestFace(w, h), numbers.smallest.ever), { min_score: minScore } = numbers;
  const rows = await search(net, image, minScore, least, known);
  const inside = ([x, y, bw, bh, score]) => {
    const cx = x + bw / 2, cy = y + bh / 2;
    return cx >= 0 && cx < w && cy >= 0 && cy < h && bw > 0 && bh > 0 && score >= minScore;
  };
  const found = [];
  for (const row of merge(rows.filter(inside))) found.push(await upright(net, image, detection(row)));
  return found;
}

/** The grey square around a detection, turned upright and framed; `framing` is [scale, dx, dy]. */
export function cropFace(image, { box: [x, y, w, h], roll }, [scale, dx, dy], size) {
  const longer = Math.max(w, h), side = Math.max(1, rint(longer * scale)), turn = turnOf(roll), [cx, cy] = [x + w / 2, y + h / 2];
  if (!turn) return square(image, rint(cx + dx * longer - side / 2), rint(cy + dy * longer - side / 2), side, size);
  const [mx, my] = turned(dx * longer, dy * longer, turn);
  return grey(cutTurned(image, cx + mx, cy + my, side, turn, size));
}
