// What can be seen of a face, and why it cannot be read; as fer_nb.inference.quality.

const inner = ({ data, width }) => {
  const rim = Math.floor(width / 12), side = width - 2 * rim;
  return { side, values: Array.from({ length: side * side }, (_, i) => data[(Math.floor(i / side) + rim) * width + (i % side) + rim]) };
};
const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
const deviation = (values) => { const m = mean(values); return Math.sqrt(mean(values.map((o) => (o - m) ** 2))); };

/** The standard deviation of the Laplacian beside that of the grey levels. */
function sharpness(crop) {
  const { side, values } = inner(crop), reflected = (i) => (i < 0 ? -i : i >= side ? 2 * side - 2 - i : i);
  const at = (x, y) => values[reflected(y) * side + reflected(x)];
  const fine = values.map((v, i) => { const x = i % side, y = Math.floor(i / side); return at(x - 1, y) + at(x + 1, y) + at(x, y - 1) + at(x, y + 1) - 4 * v; });
  return deviation(fine) / Math.max(deviation(values), 1);
}

/** The grey level that one pixel in twenty exceeds. */
function light(crop) {
  const sorted = inner(crop).values.sort((a, b) => a - b), place = 0.95 * (sorted.length - 1), at = Math.floor(place);
  return sorted[at] + (place - at) * (sorted[Math.min(at + 1, sorted.length - 1)] - sorted[at]);
}

/** How far the nose stands beside the middle of the eyes, in distances between them; NaN where the eyes coincide. */
function turnedAway([[lx, ly], [rx, ry], [nx, ny]]) {
  const [dx, dy] = [rx - lx, ry - ly], length = dx * dx + dy * dy;
  return length > 0 ? Math.abs((nx - (lx + rx) / 2) * dx + (ny - (ly + ry) / 2) * dy) / length : NaN;
}

/** {pixels, sharpness, light, turned, views}; `views` are the answers of the network of views. */
export const qualityOf = (face, crop, views) =>
  ({ pixels: Math.max(face.box[2], face.box[3]), sharpness: sharpness(crop), light: light(crop), turned: turnedAway(face.points), views });

/** Why a face cannot be read, as "too small", or "" where it can; `names` are those of the views. */
export function reasonOf(quality, limits, names) {
  if (quality.pixels < limits.pixels) return "too small";
  if (quality.light < limits.light) return "too dark";
  if (quality.sharpness < limits.sharpness) return "blurred";
  if (quality.views[0] < limits.clear) {
    const most = [1, 2, 3].reduce((a, b) => (quality.views[b] > quality.views[a] ? b : a));
    return names[most] === "none" ? "no face" : `${names[most]} covered`;
  }
  return quality.turned > limits.turned ? "turned away" : "";
}
