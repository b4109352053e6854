// BlazeFace: one look at a picture, and the looks that confirm a candidate, as in fer_nb.inference.detectors.
import { meanOf, merge, mirror, overlap, placed } from "./boxes.js";
import { numbers } from "./numbers.js";
import { cut, mirrored, resize, rint } from "./pixels.js";

const SIDE = 128;

/** [[x, y]] of the anchors in a frame of that size, pixels; those of the last size are kept. */
function anchors(width, height) {
  if (anchors.size === `${width} ${height}`) return anchors.found;
  const found = [];
  for (const [step, each] of [[8, 2], [16, 6]])
    for (let y = 0; y < Math.floor(height / step); y++)
      for (let x = 0; x < Math.floor(width / step); x++) for (let i = 0; i < each; i++) found.push([x * step + step / 2, y * step + step / 2]);
  Object.assign(anchors, { found, size: `${width} ${height}` });
  return found;
}

const LEVELS = Float32Array.from({ length: 256 }, (_, i) => Math.fround(i / 127.5) - 1);

/** `image` made (w, h): by halves as long as that is exact, then in one step. */
export function resized(image, w, h) {
  while (image.width % 2 === 0 && image.height % 2 === 0 && image.height >= 2 * h && image.width >= 2 * w)
    image = resize(image, image.width / 2, image.height / 2, true);
  return resize(image, w, h, image.width > 1.34 * w);
}

/** A row of a frame: box around the middle of the regressed centre and the mean key point; four of six points. */
function decoded(v, [ax, ay], score) {
  const mean = (i) => [4, 6, 8, 10, 12, 14].reduce((sum, k) => sum + v[k + i], 0) / 6;
  const [w, h] = [v[2], v[3]], x = (v[0] + mean(0)) / 2 + ax - w / 2, y = (v[1] + mean(1)) / 2 + ay - h / 2;
  return [x, y, w, h, score, ...[4, 6, 8, 10].flatMap((k) => [v[k] + ax, v[k + 1] + ay])];
}

/** One look at a black frame of that size, `image` in it from (left, top): rows with score >= `floor`, groups blended. */
export async function look(net, image, floor, width = image.width, height = image.height, left = 0, top = 0) {
  const { data, width: w, height: h } = image, input = new Float32Array(width * height * 3).fill(-1);
  for (let y = 0, i = 0; y < h; y++)
    for (let x = 0, j = ((y + top) * width + left) * 3; x < w; x++, i += 4, j += 3) {
      input[j] = LEVELS[data[i]];
      input[j + 1] = LEVELS[data[i + 1]];
      input[j + 2] = LEVELS[data[i + 2]];
    }
  const [regressed, logits] = (await net(input, width, height)).sort((a, b) => b.length - a.length);
  const rows = [], least = floor <= 0 ? -Infinity : Math.log(floor / (1 - floor)), places = anchors(width, height);
  logits.forEach((logit, n) => {
    if (logit < least) return;
    const score = 1 / (1 + Math.exp(-Math.min(Math.max(logit, -50), 50)));
    rows.push(decoded(regressed.subarray(16 * n, 16 * n + 16), places[n], score));
  });
  return merge(rows, { within: 2, blend: true });
}

/** One look at the whole of `image`, shrunk or enlarged to 128 pixels: rows in its pixels. */
export async function pass(net, image, floor) {
  const scale = SIDE / Math.max(image.width, image.height), w = Math.max(1, rint(image.width * scale)), h = Math.max(1, rint(image.height * scale));
  const left = Math.floor((SIDE - w) / 2), top = Math.floor((SIDE - h) / 2);
  const rows = await look(net, resized(image, w, h), floor, SIDE, SIDE, left, top);
  return rows.map((o) => placed(o, [-left, -top], [1 / scale, 1 / scale]));
}

/** The square around `box`, `grow` times its size, black beyond the picture; and its corner. */
function around(image, box, grow) {
  const side = Math.max(2, rint(Math.max(box[2], box[3]) * grow));
  const x = rint(box[0] + box[2] / 2 - side / 2), y = rint(box[1] + box[3] / 2 - side / 2);
  return [cut(image, x, y, side, side), [x, y]];
}

/** The mean of all `looks` ([window size in faces, mirrored]) at a candidate if its score is `minScore` or more, else null; one below `floor` ends them. */
export async function lookAgain(net, image, box, minScore, looks, floor) {
  const rows = [];
  for (const [grow, flipped] of looks) {
    const [part, corner] = around(image, box, grow);
    let seen = await pass(net, flipped ? mirrored(part) : part, floor);
    seen = seen.map((o) => placed(flipped ? mirror(o, part.width) : o, corner)).filter((o) => overlap(box, o)[0] > numbers.search.same);
    if (!seen.length) return null;
    rows.push(seen[0]);
  }
  const mean = meanOf(rows);
  return mean[4] >= minScore ? mean : null;
}
