// Networks by LiteRT.js: fetched, held against their hash, run.
import { loadAndCompile, loadLiteRt, Tensor } from "@litertjs/core";

/** The runtime, from the folder `runtime`; inside a worker it would look for its .wasm beside the worker's script. */
export async function startRuntime(runtime) {
  self.Module = { locateFile: (name) => new URL(name, runtime).href };
  const { error } = console;
  console.error = (...said) => (/^(INFO|WARNING):/.test(String(said[0])) ? undefined : error(...said)); // it logs by console.error
  await loadLiteRt(runtime.href);
}

/** The content of a file of the site. Throws a sentence where it cannot be had, or is another than `sha256` says. */
export async function fetched(url, name, sha256) {
  const reply = await fetch(url).catch(() => null);
  if (!reply?.ok) throw new Error(`${name} cannot be loaded: check the connection, then reload the page.`);
  const data = new Uint8Array(await reply.arrayBuffer());
  if ((await digest(data)) !== sha256)
    throw new Error(`${name} is not the file that belongs to this page (its SHA-256 differs), and is not used: reload the page, or tell its operator.`);
  return data;
}

async function digest(data) {
  if (!crypto.subtle) throw new Error("This page can check its networks only over HTTPS or on http://localhost: open it at such an address.");
  return Array.from(new Uint8Array(await crypto.subtle.digest("SHA-256", data)), (o) => o.toString(16).padStart(2, "0")).join("");
}

/** The field `n` of a flatbuffer's table, as a position; 0 where it is absent. */
const field = (view, table, n) => {
  const names = table - view.getInt32(table, true), at = 4 + 2 * n < view.getUint16(names, true) ? view.getUint16(names + 4 + 2 * n, true) : 0;
  return at && table + at;
};
const follow = (view, at) => at + view.getUint32(at, true);
const items = (view, at) => { const start = at && follow(view, at); return Array.from({ length: at ? view.getUint32(start, true) : 0 }, (_, i) => start + 4 + 4 * i); };

const TENSORS = 0, INPUTS = 1, OUTPUTS = 2, SUBGRAPHS = 2, SHAPE = 0, SIGNATURE = 7; // numbers of fields in the schema

/** The ends of the graph in a .tflite file: {inputs, outputs, all}, each [[positions of the sizes in shape and signature]]. */
function tensorsOf(view) {
  const [graph] = items(view, field(view, follow(view, 0), SUBGRAPHS)).map((o) => follow(view, o));
  const all = items(view, field(view, graph, TENSORS)).map((o) => [SHAPE, SIGNATURE].map((k) => items(view, field(view, follow(view, o), k))));
  const [inputs, outputs] = [INPUTS, OUTPUTS].map((k) => items(view, field(view, graph, k)).map((o) => all[view.getInt32(o, true)]));
  return { inputs, outputs, all };
}

/** LiteRT.js cannot resize a network: in a copy of the file a free batch (-1) becomes 1, and the ends get `shapes` if they are given. */
function fixed(data, shapes) {
  const copy = data.slice(), view = new DataView(copy.buffer), { inputs, outputs, all } = tensorsOf(view);
  for (const [, signature] of all) for (const o of signature) if (view.getInt32(o, true) < 0) view.setInt32(o, 1, true);
  const set = (places, shape) => places.forEach((sizes) => sizes.forEach((o, i) => view.setInt32(o, shape[i], true)));
  if (shapes) set(inputs[0], shapes.input);
  if (shapes) for (const [sizes, signature] of outputs) set([sizes, signature], [1, shapes.rows, view.getInt32(sizes[2], true)]);
  return copy;
}

/** A network that is ready to run: float32 in, [float32] out; with `free` to give its memory back. */
export async function openNetwork(data, shapes) {
  const model = await loadAndCompile(fixed(data, shapes), { accelerator: "wasm" }), shape = [...model.getInputDetails()[0].shape];
  const run = async (input) => {
    const tensor = new Tensor(input, shape), out = await model.run(tensor);
    const values = out.map((o) => o.toTypedArray().slice());
    [tensor, ...out].forEach((o) => o.delete());
    return values;
  };
  return Object.assign(run, { free: () => model.delete() });
}

/** BlazeFace for frames of any size that 16 divides: it keeps the small one, and of the others the one that was used last. */
export async function openDetector(data) {
  const small = await openNetwork(data);
  let size = "", wide = null;
  return async (input, width, height) => {
    if (width === 128 && height === 128) return small(input);
    if (size !== `${width} ${height}`) {
      wide?.free(); // the memory of the other size first
      wide = null;
      const rows = 2 * (width / 8) * (height / 8) + 6 * Math.floor(width / 16) * Math.floor(height / 16);
      wide = await openNetwork(data, { input: [1, height, width, 3], rows });
      size = `${width} ${height}`;
    }
    return wide(input);
  };
}
