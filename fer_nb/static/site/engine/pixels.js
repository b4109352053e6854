// What Python does with OpenCV to pixels, pixel for pixel. A picture is {data, width, height, channels}: uint8, RGBA or grey.

/** To the nearest whole number, halves to the even one, as Python's round and NumPy's rint. */
export function rint(v) {
  const down = Math.floor(v), rest = v - down;
  return rest < 0.5 || (rest === 0.5 && down % 2 === 0) ? down : down + 1;
}

const { fround } = Math;
export const picture = (width, height, channels, data = new Uint8ClampedArray(width * height * channels)) => ({ data, width, height, channels });

/** [start, share, ...] of the source pixels under each of `n` pixels of the result, as INTER_AREA weighs them. */
function areas(from, n) {
  const scale = from / n;
  return Array.from({ length: n }, (_, i) => {
    const a = i * scale, b = a + scale, cell = Math.min(scale, from - a);
    const last = Math.min(Math.floor(b), from - 1), first = Math.min(Math.ceil(a), last), parts = [];
    if (first - a > 1e-3) parts.push(first - 1, fround((first - a) / cell));
    for (let o = first; o < last; o++) parts.push(o, fround(1 / cell));
    if (b - last > 1e-3) parts.push(last, fround(Math.min(b - last, 1, cell) / cell));
    return parts;
  });
}

/** INTER_AREA where the picture shrinks; float32 sums as OpenCV makes them. */
function shrink({ data, width, height, channels: c }, w, h, Out) {
  const columns = areas(width, w), rows = areas(height, h), out = new Out(w * h * c), line = new Float32Array(w * c), sum = new Float32Array(w * c);
  rows.forEach((parts, y) => {
    sum.fill(0);
    for (let k = 0; k < parts.length; k += 2) {
      line.fill(0);
      const start = parts[k] * width * c;
      for (let x = 0; x < w; x++) {
        const across = columns[x];
        for (let j = 0; j < across.length; j += 2)
          for (let o = 0; o < c; o++) line[x * c + o] += fround(data[start + across[j] * c + o] * across[j + 1]);
      }
      for (let i = 0; i < line.length; i++) sum[i] += fround(line[i] * parts[k + 1]);
    }
    for (let i = 0; i < sum.length; i++) out[y * w * c + i] = Out === Float32Array ? sum[i] : rint(sum[i]);
  });
  return out;
}

/** INTER_AREA where both sides shrink by whole numbers. */
function shrinkWhole({ data, width, channels: c }, w, h, kx, ky, Out) {
  const out = new Out(w * h * c), share = fround(1 / (kx * ky)), halves = kx === 2 && ky === 2 && Out !== Float32Array;
  for (let y = 0; y < h; y++)
    for (let x = 0; x < w; x++)
      for (let o = 0; o < c; o++) {
        let sum = 0;
        for (let j = 0; j < ky; j++) for (let i = 0; i < kx; i++) sum += data[((y * ky + j) * width + x * kx + i) * c + o];
        const at = (y * w + x) * c + o;
        out[at] = halves ? (sum + 2) >> 2 : Out === Float32Array ? fround(sum * share) : rint(fround(sum * share));
      }
  return out;
}

/** [[position, share of the next pixel]] of the source for each pixel of the result, for INTER_LINEAR. */
const betweens = (from, n) =>
  Array.from({ length: n }, (_, i) => {
    const f = fround((i + 0.5) * (1 / (n / from)) - 0.5), at = Math.floor(f);
    return [at, fround(f - at)];
  });
const within = (v, most) => Math.min(Math.max(v, 0), most);

/** INTER_LINEAR of bytes, in OpenCV's whole numbers of 1/2048; of floats in float32. */
function stretch({ data, width, height, channels: c }, w, h, Out) {
  const bytes = Out !== Float32Array, columns = betweens(width, w), rows = betweens(height, h), out = new Out(w * h * c);
  const share = (f) => (bytes ? [rint(fround(1 - f) * 2048), rint(f * 2048)] : [fround(1 - f), f]);
  const across = (y) => {
    const line = bytes ? new Int32Array(w * c) : new Float32Array(w * c);
    columns.forEach(([at, f], x) => {
      const [a, b] = share(at < 0 || at > width - 2 ? 0 : f), left = (y * width + within(at, width - 1)) * c, right = (y * width + within(at + 1, width - 1)) * c;
      for (let o = 0; o < c; o++) line[x * c + o] = fround(data[left + o] * a) + fround(data[right + o] * b);
    });
    return line;
  };
  const lines = new Map();
  rows.forEach(([at, f], y) => {
    const [a, b] = share(f), upper = within(at, height - 1), lower = within(at + 1, height - 1);
    for (const o of lines.keys()) if (o < upper) lines.delete(o);
    for (const o of [upper, lower]) if (!lines.has(o)) lines.set(o, across(o));
    const [one, two] = [lines.get(upper), lines.get(lower)];
    for (let i = 0; i < w * c; i++)
      out[y * w * c + i] = bytes ? (((a * (one[i] >> 4)) >> 16) + ((b * (two[i] >> 4)) >> 16) + 2) >> 2 : fround(fround(one[i] * a) + fround(two[i] * b));
  });
  return out;
}

/** cv2.resize by area (INTER_AREA) or linearly (INTER_LINEAR). */
export function resize(image, w, h, area) {
  const { width, height, channels, data } = image, Out = data.constructor;
  if (w === width && h === height) return image;
  const [kx, ky] = [width / w, height / h];
  if (!area || kx < 1 || ky < 1) return picture(w, h, channels, stretch(image, w, h, Out));
  if (Number.isInteger(kx) && Number.isInteger(ky)) return picture(w, h, channels, shrinkWhole(image, w, h, kx, ky, Out));
  return picture(w, h, channels, shrink(image, w, h, Out));
}

/** The part of `image` from (x, y); what lies beyond the picture is black. */
export function cut({ data, width, height, channels: c }, x, y, w, h) {
  const out = picture(w, h, c, new data.constructor(w * h * c));
  const left = Math.max(0, x), right = Math.min(width, x + w);
  for (let row = Math.max(0, y); row < Math.min(height, y + h) && left < right; row++)
    out.data.set(data.subarray((row * width + left) * c, (row * width + right) * c), ((row - y) * w + left - x) * c);
  return out;
}

export function mirrored({ data, width, height }) {
  const out = picture(width, height, 4), from = new Uint32Array(data.buffer, data.byteOffset, width * height), to = new Uint32Array(out.data.buffer);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) to[y * width + x] = from[y * width + width - 1 - x];
  return out;
}

/** Luminance of an RGBA picture by ITU-R BT.601, in OpenCV's whole numbers. */
export function grey({ data, width, height, channels }) {
  const out = picture(width, height, 1);
  if (channels === 1) return picture(width, height, 1, data);
  for (let i = 0, j = 0; j < out.data.length; i += 4, j++) out.data[j] = (9798 * data[i] + 19235 * data[i + 1] + 3735 * data[i + 2] + 16384) >> 15;
  return out;
}

/** [`side` positions from `start` on, those outside of 0 to n - 1 at the edge]. */
const repeated = (start, side, n) => Array.from({ length: side }, (_, i) => Math.min(Math.max(start + i, 0), n - 1));

/** The rows and columns of a one-channel picture at these positions, in float32. */
function gathered({ data, width }, columns, rows) {
  const out = picture(columns.length, rows.length, 1, new Float32Array(columns.length * rows.length));
  rows.forEach((y, j) => columns.forEach((x, i) => { out.data[j * columns.length + i] = data[y * width + x]; }));
  return out;
}

/** The square of `side` pixels from (x, y), edges repeated, as grey of (size, size). */
export function square(image, x, y, side, size) {
  const area = side > size, { width, height } = image;
  if (x >= 0 && y >= 0 && x <= width - side && y <= height - side) return resize(grey(cut(image, x, y, side, side)), size, size, area);
  const columns = repeated(x, side, width), rows = repeated(y, side, height), [left, top] = [columns[0], rows[0]];
  const part = grey(cut(image, left, top, columns.at(-1) - left + 1, rows.at(-1) - top + 1));
  const every = (n) => Array.from({ length: n }, (_, i) => i);
  const band = resize(gathered(part, columns.map((o) => o - left), every(part.height)), size, part.height, area);
  const whole = resize(gathered(band, every(size), rows.map((o) => o - top)), size, size, area);
  return picture(size, size, 1, Uint8ClampedArray.from(whole.data, rint));
}

/** cv2.warpAffine with INTER_LINEAR, WARP_INVERSE_MAP and edges repeated: places in whole numbers of 1/32 pixel. */
function warp({ data, width, height, channels: c }, [a, b, tx, d, e, ty], n) {
  const out = picture(n, n, c), wide = width - 1, high = height - 1;
  const right = Array.from({ length: n }, (_, x) => rint(a * x * 1024)), down = Array.from({ length: n }, (_, x) => rint(d * x * 1024));
  for (let y = 0, at = 0; y < n; y++) {
    const [startX, startY] = [rint((b * y + tx) * 1024) + 16, rint((e * y + ty) * 1024) + 16];
    for (let x = 0; x < n; x++) {
      const sx = (startX + right[x]) >> 5, sy = (startY + down[x]) >> 5, fx = sx & 31, fy = sy & 31, ix = sx >> 5, iy = sy >> 5;
      const x0 = within(ix, wide) * c, x1 = within(ix + 1, wide) * c, y0 = within(iy, high) * width * c, y1 = within(iy + 1, high) * width * c;
      for (let o = 0; o < c; o++, at++) {
        const upper = (32 - fx) * data[y0 + x0 + o] + fx * data[y0 + x1 + o], lower = (32 - fx) * data[y1 + x0 + o] + fx * data[y1 + x1 + o];
        out.data[at] = ((32 - fy) * upper + fy * lower + 512) >> 10;
      }
    }
  }
  return out;
}

/** The part of `image` within `reach` of (x, y), `less` times smaller, with x and y in it and its scale. */
function around(image, x, y, reach, less) {
  const ends = (o, n) => [Math.floor(o - reach), Math.floor(o + reach)].map((v) => Math.min(Math.max(v, 0), n - 1));
  const [[left, right], [top, bottom]] = [ends(x, image.width), ends(y, image.height)], w = right - left + 1, h = bottom - top + 1;
  let part = cut(image, left, top, w, h);
  if (less > 1) part = resize(part, Math.max(1, rint(w / less)), Math.max(1, rint(h / less)), true);
  const scale = [part.width / w, part.height / h];
  return { part, x: (x - left) * scale[0], y: (y - top) * scale[1], scale };
}

/** The square of `side` around (x, y) that is turned by `roll` degrees, turned upright; edges repeated. */
export function cutTurned(image, x, y, side, roll, size) {
  const less = Math.max(1, Math.trunc(side / (2 * size)));
  const found = around(image, x, y, 0.71 * side + 2, less), n = side > less * size ? 2 * size : size;
  const [c, s] = [Math.cos((roll * Math.PI) / 180), Math.sin((roll * Math.PI) / 180)].map((v) => (v * side) / n), [kx, ky] = found.scale;
  const [a, b, d, e] = [c * kx, -s * kx, s * ky, c * ky], middle = (n - 1) / 2;
  const out = warp(found.part, [a, b, found.x - 0.5 - (a + b) * middle, d, e, found.y - 0.5 - (d + e) * middle], n);
  return n === size ? out : resize(out, size, size, true);
}
