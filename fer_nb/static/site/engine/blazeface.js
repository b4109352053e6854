// BlazeFace: one look at a picture, and the looks that confirm a candidate, as in fer_nb.inference.detectors.
import { meanOf, merge, mirror, overlap, placed } from "./boxes.js";
import { cut, mirrored, picture, resize, rint } from "./pixels.js";

const SIDE = 128;
const ANCHORS = [[16, 2], [8, 6]].flatMap(([n, each]) =>
  Array.from({ length: n * n * each }, (_, i) => { const at = Math.floor(i / each); return [(at % n) / n + 0.5 / n, Math.floor(at / n) / n + 0.5 / n]; }));

const LEVELS = Float32Array.from({ length: 256 }, (_, i) => Math.fround(i / 127.5) - 1);

/** `image` made (w, h): by halves as long as that is exact, then in one step. */
function resized(image, w, h) {
  while (image.width % 2 === 0 && image.height % 2 === 0 && image.height >= 2 * h && image.width >= 2 * w)
    image = resize(image, image.width / 2, image.height / 2, true);
  return resize(image, w, h, image.width > 1.34 * w);
}

/** The picture in the middle of a black square of SIDE: pixels from -1 to 1, its corner and its scale. */
function letterbox(image) {
  const scale = SIDE / Math.max(image.width, image.height), w = Math.max(1, rint(image.width * scale)), h = Math.max(1, rint(image.height * scale));
  const left = Math.floor((SIDE - w) / 2), top = Math.floor((SIDE - h) / 2), { data } = resized(image, w, h);
  const input = new Float32Array(SIDE * SIDE * 3).fill(-1);
  for (let y = 0; y < h; y++)
    for (let x = 0, i = y * w * 4, j = ((y + top) * SIDE + left) * 3; x < w; x++, i += 4, j += 3)
      for (let o = 0; o < 3; o++) input[j + o] = LEVELS[data[i + o]];
  return { input, left, top, scale };
}

/** A row in pixels of the picture: box around the middle of the regressed centre and the mean key point; four of six points. */
function decoded(raw, [ax, ay], score, { left, top, scale }) {
  const v = Array.from(raw, (o) => o / SIDE), mean = (i) => [4, 6, 8, 10, 12, 14].reduce((sum, k) => sum + v[k + i], 0) / 6;
  const [w, h] = [v[2], v[3]], x = (v[0] + mean(0)) / 2 + ax - w / 2, y = (v[1] + mean(1)) / 2 + ay - h / 2;
  const place = (px, py) => [(px * SIDE - left) / scale, (py * SIDE - top) / scale];
  const points = [4, 6, 8, 10].flatMap((k) => place(v[k] + ax, v[k + 1] + ay));
  return [...place(x, y), (w * SIDE) / scale, (h * SIDE) / scale, score, ...points];
}

/** One look at the whole of `image`: rows in its pixels with score >= `floor`, groups blended. */
export async function look(net, image, floor) {
  const { input, ...box } = letterbox(image), least = floor <= 0 ? -Infinity : Math.log(floor / (1 - floor)), rows = [];
  const [regressed, logits] = (await net(input)).sort((a, b) => b.length - a.length);
  logits.forEach((logit, n) => {
    if (logit < least) return;
    const score = 1 / (1 + Math.exp(-Math.min(Math.max(logit, -50), 50)));
    rows.push(decoded(regressed.subarray(16 * n, 16 * n + 16), ANCHORS[n], score, box));
  });
  return merge(rows, { within: 2, blend: true });
}

/** The square around `box`, `grow` times its size, black beyond the picture; and its corner. */
function around(image, box, grow) {
  const side = Math.max(2, rint(Math.max(box[2], box[3]) * grow));
  const x = rint(box[0] + box[2] / 2 - side / 2), y = rint(box[1] + box[3] / 2 - side / 2);
  return [cut(image, x, y, side, side), [x, y]];
}

/** The row of a candidate that holds at `floor` in all `looks` ([window size in faces, mirrored]), else null. */
export async function lookAgain(net, image, box, floor, looks) {
  const rows = [];
  for (const [grow, flipped] of looks) {
    const [part, corner] = around(image, box, grow);
    let seen = await look(net, flipped ? mirrored(part) : part, floor);
    seen = seen.map((o) => placed(flipped ? mirror(o, part.width) : o, corner)).filter((o) => overlap(box, o)[0] > 0.3);
    if (!seen.length) return null;
    rows.push(seen[0]);
  }
  const mean = meanOf(rows);
  mean[4] = Math.min(...rows.map((o) => o[4]));
  return mean;
}
