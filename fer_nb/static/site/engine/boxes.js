// Boxes, key points and angles, as fer_nb.inference.boxes and upright. A row is [x, y, w, h, score, then eye, eye, nose, mouth as x, y].
import { numbers } from "./numbers.js";

const sum = (values) => values.reduce((a, b) => a + b, 0);

/** Intersection over union of two boxes, and over the smaller. */
export function overlap(one, other) {
  const side = (i) => Math.max(0, Math.min(one[i] + one[i + 2], other[i] + other[i + 2]) - Math.max(one[i], other[i]));
  const both = side(0) * side(1), a = one[2] * one[3], b = other[2] * other[3];
  return [both / Math.max(a + b - both, 1e-9), both / Math.max(Math.min(a, b), 1e-9)];
}

function blended(rows) {
  const weights = rows.map((o) => o[4] + 1e-9), whole = sum(weights);
  return rows[0].map((_, i) => sum(rows.map((o, j) => o[i] * weights[j])) / whole);
}

/** One row for each group of overlapping boxes, the highest score first: its best, or the mean of all of them. */
export function merge(rows, how) {
  const { iou, within, blend } = { ...numbers.merge, ...how };
  let left = [...rows].sort((a, b) => b[4] - a[4] || a[0] - b[0] || a[1] - b[1]);
  const kept = [];
  while (left.length) {
    const [best] = left, same = [], others = [];
    for (const o of left) {
      const [union, smaller] = overlap(best, o);
      (o === best || union > iou || smaller > within ? same : others).push(o);
    }
    const row = blend && same.length > 1 ? blended(same) : [...best];
    row[4] = best[4];
    kept.push(row);
    left = others;
  }
  return kept;
}

/** A row with its box moved by `move` and its key points mapped by `place`. */
const mapped = (row, box, place) => {
  const points = [5, 7, 9, 11].flatMap((i) => place(row[i], row[i + 1]));
  return [...box, row[4], ...points, ...row.slice(13)];
};

/** The row in pixels of the whole picture: moved by `corner`, then larger by `back`. */
export const placed = (row, [x, y], [fx, fy] = [1, 1]) =>
  mapped(row, [(row[0] + x) * fx, (row[1] + y) * fy, row[2] * fx, row[3] * fy], (px, py) => [(px + x) * fx, (py + y) * fy]);

/** The row of the mirrored picture; the eye on the left stays first. */
export function mirror(row, width) {
  const swapped = [...row.slice(0, 5), row[7], row[8], row[5], row[6], ...row.slice(9)];
  return mapped(swapped, [width - row[0] - row[2], row[1], row[2], row[3]], (x, y) => [width - x, y]);
}

const DEGREES = 180 / Math.PI;

/** How far a head is turned, degrees clockwise, by its four key points. */
function rollOf([[x, y], [x2, y2], , [mx, my]]) {
  const down = my - (y + y2) / 2, across = mx - (x + x2) / 2;
  return Math.atan2(y2 - y - across, x2 - x + down) * DEGREES;
}

const wrapped = (angle) => (((angle % 360) + 360) % 360) - 180;

/** An angle between two, the shorter way round the circle. */
export const rollBetween = (one, other, share) => wrapped(one + share * wrapped(other - one + 180) + 180);

/** By how much a face of this roll is turned to be cut out: not at all where it is upright enough. */
export function turnOf(roll) {
  const [low, high] = numbers.upright.level;
  return roll * Math.min(1, Math.max(0, (Math.abs(roll) - low) / (high - low)));
}

/** (x, y) turned clockwise about the origin. */
export function turned(x, y, roll) {
  const c = Math.cos(roll / DEGREES), s = Math.sin(roll / DEGREES);
  return [c * x - s * y, s * x + c * y];
}

/** A row in pixels of what `cutTurned` returned, in pixels of the picture. */
export function putBack(row, x, y, side, roll, size) {
  const scale = side / size;
  const place = (px, py) => { const [a, b] = turned(px * scale - side / 2, py * scale - side / 2, roll); return [a + x, b + y]; };
  const [cx, cy] = place(row[0] + row[2] / 2, row[1] + row[3] / 2), w = row[2] * scale, h = row[3] * scale;
  return mapped(row, [cx - w / 2, cy - h / 2, w, h], place);
}

/** {box, score, points, roll} of a row. */
export function detection(row) {
  const [x, y, w, h, score, ...flat] = row, points = [0, 2, 4, 6].map((i) => [flat[i], flat[i + 1]]);
  const near = points.every(([px, py]) => Math.abs(px - x - w / 2) < w && Math.abs(py - y - h / 2) < h);
  return { box: [x, y, w, h], score, points, roll: near ? rollOf(points) : 0 };
}

export const rowOf = ({ box, score, points }) => [...box, score, ...points.flat()];
export const meanOf = (rows) => rows[0].map((_, i) => sum(rows.map((o) => o[i])) / rows.length);
