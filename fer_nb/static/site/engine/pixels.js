// What Python does with OpenCV to pixels, pixel for pixel. A picture is {data, width, height, channels}: bytes, RGBA or grey, or float32.

/** To the nearest whole number, halves to the even one, as Python's round and NumPy's rint. */
export function rint(v) {
  const down = Math.floor(v), rest = v - down;
  return rest < 0.5 || (rest === 0.5 && down % 2 === 0) ? down : down + 1;
}

const { fround } = Math;
export const picture = (width, height, channels, data = new Uint8ClampedArray(width * height * channels)) => ({ data, width, height, channels });

/** The source pixels under each of `n` pixels of the result, as INTER_AREA weighs them: pixel i has those from ends[i - 1] to ends[i]. */
function areas(from, n) {
  const scale = from / n, at = [], shares = [], ends = new Int32Array(n);
  const add = (place, share) => { at.push(place); shares.push(share); };
  for (let i = 0; i < n; i++) {
    const a = i * scale, b = a + scale, cell = Math.min(scale, from - a), last = Math.min(Math.floor(b), from - 1), first = Math.min(Math.ceil(a), last);
    if (first - a > 1e-3) add(first - 1, (first - a) / cell);
    for (let o = first; o < last; o++) add(o, 1 / cell);
    if (b - last > 1e-3) add(last, Math.min(b - last, 1, cell) / cell);
    ends[i] = at.length;
  }
  return { at: Int32Array.from(at), shares: Float32Array.from(shares), ends };
}

/** One row of a picture, weighed; of RGBA only the colours. */
function weigh(data, start, { at, shares, ends }, c, line) {
  for (let x = 0, j = 0; x < ends.length; x++) {
    let r = 0, g = 0, b = 0;
    for (; j < ends[x]; j++) {
      const from = start + at[j] * c, share = shares[j];
      r = fround(r + fround(data[from] * share));
      if (c === 1) continue;
      g = fround(g + fround(data[from + 1] * share));
      b = fround(b + fround(data[from + 2] * share));
    }
    line[x * c] = r;
    if (c === 1) continue;
    line[x * c + 1] = g;
    line[x * c + 2] = b;
  }
}

/** INTER_AREA where the picture shrinks; float32 sums as OpenCV makes them. */
function shrink({ data, width, height, channels: c }, w, h, out) {
  const columns = areas(width, w), rows = areas(height, h), line = new Float32Array(w * c), sum = new Float32Array(w * c);
  for (let y = 0, k = 0; y < h; y++) {
    sum.fill(0);
    for (; k < rows.ends[y]; k++) {
      const share = rows.shares[k];
      weigh(data, rows.at[k] * width * c, columns, c, line);
      for (let i = 0; i < line.length; i++) sum[i] += fround(line[i] * share);
    }
    out.set(sum, y * w * c); // bytes are rounded by Uint8ClampedArray, halves to the even one
  }
}

/** INTER_AREA where both sides shrink by whole numbers. */
function shrinkWhole({ data, width, channels: c }, w, h, kx, ky, out) {
  const share = fround(1 / (kx * ky)), halves = kx === 2 && ky === 2 && !(out instanceof Float32Array);
  for (let y = 0, to = 0; y < h; y++)
    for (let x = 0; x < w; x++)
      for (let o = 0; o < c; o++, to++) {
        let sum = 0;
        for (let j = 0; j < ky; j++) for (let i = 0; i < kx; i++) sum += data[((y * ky + j) * width + x * kx + i) * c + o];
        out[to] = halves ? (sum + 2) >> 2 : fround(sum * share);
      }
}

/** The same for halves of RGBA, two channels at a time in the halves of a word. */
function halve({ data, width }, w, h, out) {
  const from = new Int32Array(data.buffer, data.byteOffset, data.length / 4), to = new Int32Array(out.buffer), even = 0xff00ff;
  for (let y = 0, at = 0; y < h; y++)
    for (let x = 0, i = 2 * y * width; x < w; x++, i += 2, at++) {
      const a = from[i], b = from[i + 1], c = from[i + width], d = from[i + width + 1];
      const low = (a & even) + (b & even) + (c & even) + (d & even) + 0x20002;
      const high = ((a >>> 8) & even) + ((b >>> 8) & even) + ((c >>> 8) & even) + ((d >>> 8) & even) + 0x20002;
      to[at] = ((low >>> 2) & even) | (((high >>> 2) & even) << 8);
    }
}

const within = (v, most) => Math.min(Math.max(v, 0), most);

/** For each pixel of the result, two places of the source and their shares, in 1/`unit`, for INTER_LINEAR; columns end at the edge. */
function betweens(from, n, unit, columns) {
  const Shares = unit === 1 ? Float32Array : Int32Array, one = new Int32Array(n), two = new Int32Array(n), ones = new Shares(n), twos = new Shares(n);
  for (let i = 0; i < n; i++) {
    const place = fround((i + 0.5) * (1 / (n / from)) - 0.5), at = Math.floor(place), f = columns && (at < 0 || at > from - 2) ? 0 : fround(place - at);
    one[i] = within(at, from - 1);
    two[i] = within(at + 1, from - 1);
    ones[i] = unit === 1 ? 1 - f : rint(fround(1 - f) * unit);
    twos[i] = unit === 1 ? f : rint(f * unit);
  }
  return { one, two, ones, twos };
}

/** INTER_LINEAR of bytes, in OpenCV's whole numbers of 1/2048. */
function stretch({ data, width, height, channels: c }, w, h, out) {
  const columns = betweens(width, w, 2048, true), rows = betweens(height, h, 2048, false), lines = [new Int32Array(w * c), new Int32Array(w * c)], held = [-1, -1];
  const line = (y) => {
    const into = lines[y & 1], start = y * width;
    if (held[y & 1] !== y)
      for (let x = 0, to = 0; x < w; x++) {
        const a = columns.ones[x], b = columns.twos[x], left = (start + columns.one[x]) * c, right = (start + columns.two[x]) * c;
        for (let o = 0; o < c; o++, to++) into[to] = data[left + o] * a + data[right + o] * b;
      }
    held[y & 1] = y;
    return into;
  };
  for (let y = 0, to = 0; y < h; y++) {
    const a = rows.ones[y], b = rows.twos[y], upper = line(rows.one[y]), lower = line(rows.two[y]);
    for (let i = 0; i < upper.length; i++, to++) out[to] = (((a * (upper[i] >> 4)) >> 16) + ((b * (lower[i] >> 4)) >> 16) + 2) >> 2;
  }
}

/** INTER_LINEAR of one channel in float32. */
function stretchFloats({ data, width, height }, w, h, out) {
  const columns = betweens(width, w, 1, true), rows = betweens(height, h, 1, false), across = (y, x) =>
    fround(data[y * width + columns.one[x]] * columns.ones[x]) + fround(data[y * width + columns.two[x]] * columns.twos[x]);
  for (let y = 0; y < h; y++)
    for (let x = 0; x < w; x++)
      out[y * w + x] = fround(fround(across(rows.one[y], x)) * rows.ones[y]) + fround(fround(across(rows.two[y], x)) * rows.twos[y]);
}

/** cv2.resize by area (INTER_AREA) or linearly (INTER_LINEAR). */
export function resize(image, w, h, area) {
  const { width, height, channels, data } = image, out = picture(w, h, channels, new data.constructor(w * h * channels));
  if (w === width && h === height) return image;
  const [kx, ky] = [width / w, height / h];
  if (!area || kx < 1 || ky < 1) (data instanceof Float32Array ? stretchFloats : stretch)(image, w, h, out.data);
  else if (!Number.isInteger(kx) || !Number.isInteger(ky)) shrink(image, w, h, out.data);
  else if (kx === 2 && ky === 2 && channels === 4) halve(image, w, h, out.data);
  else shrinkWhole(image, w, h, kx, ky, out.data);
  return out;
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
  return picture(size, size, 1, Uint8ClampedArray.from(whole.data));
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
