// What can be seen of a face, and why it cannot be read; as fer_nb.inference.quality.

/** The grey levels without the outer twelfth on each side. */
function inner({ data, width }) {
  const rim = Math.floor(width / 12), side = width - 2 * rim, values = new Uint8Array(side * side);
  for (let y = 0; y < side; y++) values.set(data.subarray((y + rim) * width + rim, (y + rim) * width + rim + side), y * side);
  return { side, values };
}

function deviation(values) {
  let sum = 0, squares = 0;
  for (const o of values) sum += o;
  const mean = sum / values.length;
  for (const o of values) squares += (o - mean) ** 2;
  return Math.sqrt(squares / values.length);
}

/** The standard deviation of the Laplacian beside that of the grey levels. */
function sharpness({ side, values }) {
  const fine = new Int16Array(values.length), at = (x, y) => values[y * side + x], next = side - 2;
  for (let y = 0, i = 0; y < side; y++)
    for (let x = 0; x < side; x++, i++) // beyond the edge the picture is mirrored
      fine[i] = at(x ? x - 1 : 1, y) + at(x <= next ? x + 1 : next, y) + at(x, y ? y - 1 : 1) + at(x, y <= next ? y + 1 : next) - 4 * values[i];
  return deviation(fine) / Math.max(deviation(values), 1);
}

/** The grey level that one pixel in twenty exceeds. */
function light({ values }) {
  const sorted = values.slice().sort(), place = 0.95 * (sorted.length - 1), at = Math.floor(place);
  return sorted[at] + (place - at) * (sorted[Math.min(at + 1, sorted.length - 1)] - sorted[at]);
}

/** How far the nose stands beside the middle of the eyes, in distances between them; NaN where the eyes coincide. */
function turnedAway([[lx, ly], [rx, ry], [nx, ny]]) {
  const [dx, dy] = [rx - lx, ry - ly], length = dx * dx + dy * dy;
  return length > 0 ? Math.abs((nx - (lx + rx) / 2) * dx + (ny - (ly + ry) / 2) * dy) / length : NaN;
}

/** {pixels, sharpness, light, turned, views}; `views` are the answers of the network of views. */
export function qualityOf(face, crop, views) {
  const seen = inner(crop);
  return { pixels: Math.max(face.box[2], face.box[3]), sharpness: sharpness(seen), light: light(seen), turned: turnedAway(face.points), views };
}

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
