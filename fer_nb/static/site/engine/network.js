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
    throw new Error(`${name} is not the file that belongs to this page (its SHA-256 differs), and is not used: reload the page, or tell the one who runs it.`);
  return data;
}

async function digest(data) {
  if (!crypto.subtle) throw new Error("This page can check its networks only over HTTPS or on http://localhost: open it by one of them.");
  return Array.from(new Uint8Array(await crypto.subtle.digest("SHA-256", data)), (o) => o.toString(16).padStart(2, "0")).join("");
}

/** The field `n` of a flatbuffer's table, as a position; 0 where it is absent. */
const field = (view, table, n) => {
  const names = table - view.getInt32(table, true), at = 4 + 2 * n < view.getUint16(names, true) ? view.getUint16(names + 4 + 2 * n, true) : 0;
  return at && table + at;
};
const follow = (view, at) => at + view.getUint32(at, true);
const items = (view, at) => { const start = at && follow(view, at); return Array.from({ length: at ? view.getUint32(start, true) : 0 }, (_, i) => start + 4 + 4 * i); };

/** LiteRT.js cannot resize a free batch: in the file's tensors (Model.subgraphs.tensors.shape_signature) -1 becomes 1. */
export function fixBatch(data) {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength), model = follow(view, 0);
  for (const graph of items(view, field(view, model, 2)))
    for (const tensor of items(view, field(view, follow(view, graph), 0)))
      for (const size of items(view, field(view, follow(view, tensor), 7))) if (view.getInt32(size, true) < 0) view.setInt32(size, 1, true);
  return data;
}

/** A network that is ready to run: float32 in, [float32] out; with `free` to give its memory back. */
export async function openNetwork(data) {
  const model = await loadAndCompile(fixBatch(data), { accelerator: "wasm" }), shape = [...model.getInputDetails()[0].shape];
  const run = async (input) => {
    const tensor = new Tensor(input, shape), out = await model.run(tensor);
    const values = out.map((o) => o.toTypedArray().slice());
    [tensor, ...out].forEach((o) => o.delete());
    return values;
  };
  return Object.assign(run, { free: () => model.delete() });
}
