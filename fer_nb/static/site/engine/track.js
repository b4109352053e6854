// Faces that keep their number from frame to frame, and shares that do not flicker; as fer_nb.video.track.
import { rollBetween } from "./boxes.js";

/** Distance of two boxes in widths of a face, with the difference in size on top. */
function distance(one, other) {
  const [size, last] = [one, other].map((o) => Math.sqrt(o[2] * o[3]));
  const [dx, dy] = [0, 1].map((i) => one[i] + one[i + 2] / 2 - other[i] - other[i + 2] / 2);
  return Math.hypot(dx, dy) / Math.min(size, last) + Math.abs(Math.log(size / last));
}

/** Map: each box's position -> that of the nearest place that is free, the closest pair first. */
function pairs(boxes, places, limit) {
  const far = boxes.flatMap((b, i) => places.map((p, j) => [distance(b, p), i, j])).filter(([d]) => d <= limit);
  const found = new Map(), used = new Set();
  for (const [, i, j] of far.sort((a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2])) {
    if (found.has(i) || used.has(j)) continue;
    found.set(i, j);
    used.add(j);
  }
  return found;
}

class Track {
  constructor(number, face, time, { glide, quick }) { Object.assign(this, { number, time, glide, quick, box: face.box, shares: face.shares, roll: face.roll, speed: [0, 0] }); }

  /** Where the box should be at `time`; the speed of a hidden face decays. */
  expected(time) {
    const far = this.glide * (1 - Math.exp(-(time - this.time) / this.glide)), [x, y, w, h] = this.box;
    return [x + this.speed[0] * far, y + this.speed[1] * far, w, h];
  }

  see(face, time, smooth) {
    const passed = Math.max(time - this.time, 1e-3), quick = 1 - Math.exp(-passed / this.quick), [a, b] = [this.box, face.box];
    this.speed = this.speed.map((v, i) => v + quick * ((b[i] + b[i + 2] / 2 - a[i] - a[i + 2] / 2) / passed - v));
    const share = Math.fround(smooth ? 1 - Math.exp(-passed / smooth) : 1);
    this.shares = this.shares.map((v, i) => Math.fround(v + Math.fround(share * Math.fround(face.shares[i] - v))));
    this.roll = rollBetween(this.roll, face.roll, quick);
    Object.assign(this, { box: face.box, time });
  }
}

export class Tracker {
  constructor(settings) { Object.assign(this, settings); this.reset(); }

  reset() { Object.assign(this, { tracks: [], seen: 0, last: -Infinity }); }

  /** Where the faces in sight should be at `time`. */
  expected(time) { return this.tracks.filter((o) => time - o.time <= this.keep).map((o) => o.expected(time)); }

  /** The faces of a frame with their numbers, averaged shares and rolls, by number. */
  follow(faces, time) {
    if (time < this.last) this.reset();
    this.last = time;
    this.tracks = this.tracks.filter((o) => time - o.time <= this.keep);
    const known = pairs(faces.map((o) => o.box), this.expected(time), this.limit), before = [...this.tracks];
    const found = faces.map((face, i) => {
      const old = before[known.get(i)], track = old ?? new Track(++this.seen, face, time, this);
      if (old) old.see(face, time, this.smooth);
      else this.tracks.push(track);
      return { ...face, shares: track.shares, roll: track.roll, track: track.number };
    });
    return found.sort((a, b) => a.track - b.track);
  }
}
