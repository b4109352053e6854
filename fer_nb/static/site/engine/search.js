// Where BlazeFace looks: the whole picture, blocks of it where small faces are sought, and candidates again.
import { look, lookAgain, pass, resized } from "./blazeface.js";
import { merge, overlap, placed } from "./boxes.js";
import { numbers } from "./numbers.js";
import { cut, rint } from "./pixels.js";

/** `image` made smaller or, up to `most`, larger by `factor`, and the factors that bring boxes back. */
function scaled(image, factor, most = 1) {
  const [w, h] = [image.width, image.height].map((o) => Math.max(1, rint(o * Math.min(most, factor))));
  return [w === image.width && h === image.height ? image : resized(image, w, h), [image.width / w, image.height / h]];
}

/** {side, starts} of the blocks along a side of `length` pixels: as few as cover it and overlap; 16 divides them. */
function blocks(length) {
  const { block, overlap: shared } = numbers.search;
  const n = Math.max(1, Math.ceil((length - shared) / (block - shared))), side = 16 * Math.ceil((length + (n - 1) * shared) / n / 16);
  return { side, starts: Array.from({ length: n }, (_, i) => (n > 1 ? Math.trunc((i * Math.max(0, length - side)) / (n - 1)) : 0)) };
}

/** Rows of what may be a face of `minFace` pixels or more, in all blocks of `image`. */
async function closer(net, image, floor, minFace) {
  const [small, back] = scaled(image, numbers.search.shown / minFace, numbers.search.enlarged);
  const { side: w, starts: xs } = blocks(small.width), { side: h, starts: ys } = blocks(small.height), found = [];
  for (const y of ys)
    for (const x of xs) {
      const part = cut(small, x, y, Math.min(w, small.width - x), Math.min(h, small.height - y));
      found.push(...(await look(net, part, floor, w, h)).map((o) => placed(o, [x, y], back)));
    }
  if (xs.length * ys.length === 1) return found;
  const [whole, more] = scaled(small, Math.min(h / small.height, w / small.width));
  return [...found, ...(await look(net, whole, floor, w, h)).map((o) => placed(o, [0, 0], [back[0] * more[0], back[1] * more[1]]))];
}

/** Rows of what BlazeFace takes for a face at first sight, with whether it is sure and large, so that its box lies well. */
async function candidates(net, image, floor, minFace) {
  const found = await pass(net, image, floor), long = Math.max(image.width, image.height), { sure, large, seen } = numbers.search;
  for (const o of found) if (o[4] >= sure && Math.min(o[2], o[3]) >= long / large) o[4] += 1; // so that they win, whatever a block says
  if (long > rint(minFace * seen)) found.push(...(await closer(net, image, floor, minFace)));
  return merge(found, { within: 2 }).map((row) => {
    const plain = row[4] > 1;
    if (plain) row[4] -= 1;
    return { row, plain };
  });
}

/** Rows of the faces in `image`: four more looks at each candidate, one or none if it is sure. */
export async function search(net, image, minScore, minFace, known) {
  const how = numbers.search, faces = [], floor = Math.min(how.floor, minScore);
  for (const { row, plain } of await candidates(net, image, floor, minFace)) {
    const near = row[4] >= Math.max(how.sure, minScore) || known.some((o) => overlap(row, o)[0] > how.known);
    faces.push(plain && row[4] >= minScore ? row : await lookAgain(net, image, row, minScore, near ? how.near : how.looks, floor));
  }
  return faces.filter(Boolean);
}
