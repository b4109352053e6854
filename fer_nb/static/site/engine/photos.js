// Pictures for the engine: decoded by the browser, or named in a sentence where it cannot, as fer_nb.inference.image names them.

const SIGNATURES = [
  ["\xff\xd8\xff", "JPEG"], ["\x89PNG\r\n\x1a\n", "PNG"], ["GIF8", "GIF"], ["BM", "BMP"], ["II*\0", "TIFF"], ["MM\0*", "TIFF"], ["P5", "PGM"], ["P6", "PPM"],
  ["P2", "PGM"], ["\xff\x0a", "JPEG XL"], ["\0\0\0\x0cJXL", "JPEG XL"], ["\0\0\0\x0cjP", "JPEG 2000"], ["%PDF", "PDF"], ["PK\x03\x04", "ZIP"],
];

function brand(head) {
  const main = head.slice(8, 12), end = head.charCodeAt(2) ? 64 : Math.min(head.charCodeAt(3), 64);
  const others = Array.from({ length: Math.max(0, Math.ceil((end - 16) / 4)) }, (_, i) => head.slice(16 + 4 * i, 20 + 4 * i));
  if (main === "avif" || main === "avis" || (main.startsWith("mi") && others.includes("avif"))) return "AVIF";
  return /^(he|mi|ms)/.test(main) ? "HEIC" : "video";
}

/** The format's name by the first bytes of a file. */
export function whatIs(bytes) {
  const head = String.fromCharCode(...bytes.subarray(0, 512)), known = SIGNATURES.find(([start]) => head.startsWith(start));
  if (known) return known[1];
  if (head.startsWith("RIFF") && head.slice(8, 12) === "WEBP") return "WebP";
  if (head.slice(4, 8) === "ftyp") return brand(head);
  if (/^\s*<(svg|\?xml)/i.test(head)) return "SVG";
  return bytes.length && /^[\t\n\r\f\x20-\xff]*$/.test(head) ? "text" : "unknown";
}

const NOT = ["text", "SVG", "PDF", "ZIP", "video"], SOME = ["TIFF", "HEIC", "JPEG XL", "JPEG 2000", "AVIF"];

/** Why a file is not read although a browser may open it, or "". */
function flaw(bytes, kind, name) {
  const tail = () => String.fromCharCode(...bytes.subarray(-16384));
  if (!bytes.length) return `${name} is empty (0 bytes): save or download it again.`;
  if (NOT.includes(kind)) return `${name} is not a picture that can be read (it holds ${kind}): convert it to JPEG or PNG.`;
  const open = (kind === "JPEG" && !tail().includes("\xff\xd9")) || (kind === "PNG" && !tail().includes("IEND"))
    || (kind === "GIF" && !tail().slice(-16).includes(";"));
  return open ? `${name} is a ${kind} that breaks off before its end: copy or download it again.` : "";
}

let brush, bytes;

/** The RGBA pixels of a bitmap, or of a video's frame made (w, h); it is closed. */
export function pixelsOf(image, w = image.width, h = image.height) {
  brush ??= new OffscreenCanvas(w, h).getContext("2d", { willReadFrequently: true });
  if (brush.canvas.width !== w || brush.canvas.height !== h) Object.assign(brush.canvas, { width: w, height: h });
  brush.drawImage(image, 0, 0, w, h);
  image.close();
  return brush.getImageData(0, 0, w, h);
}

/** The RGBA pixels of a video's frame, which is closed; valid until the next one. Without a canvas, whose memory grows with each frame. */
export async function frameOf(frame, most) {
  const { displayWidth: width, displayHeight: height } = frame, scale = most / width, plain = { format: "RGBA", colorSpace: "srgb" };
  if (scale < 1) return pixelsOf(frame, most, Math.round(height * scale));
  try {
    const size = frame.allocationSize(plain);
    if (bytes?.length !== size) bytes = new Uint8ClampedArray(size);
    await frame.copyTo(bytes, plain);
  } catch { return pixelsOf(frame, width, height); } // a browser that copies only what the camera gave
  frame.close();
  return { data: bytes, width, height };
}

/** {image, original}: the pixels of a picture file, and its size. Throws a sentence for what is no picture. */
export async function openPhoto(data, name) {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength), kind = whatIs(bytes), why = flaw(bytes, kind, name);
  if (why) throw new Error(why);
  const bitmap = await createImageBitmap(new Blob([bytes]), { colorSpaceConversion: "none" }).catch(() => null);
  if (!bitmap && SOME.includes(kind)) throw new Error(`${name} holds ${kind}, which this browser cannot open: convert it to JPEG or PNG.`);
  if (!bitmap) throw new Error(`${name} cannot be decoded as a picture (it looks like ${kind}): convert it to JPEG or PNG.`);
  const original = [bitmap.width, bitmap.height];
  return { image: pixelsOf(bitmap), original };
}
