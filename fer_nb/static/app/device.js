// The engine in the visitor's own browser: a worker answers the messages that a kernel answers elsewhere, and no picture leaves the page.

const NO_WORKER = "This browser does not run web workers for this page, and reading faces needs them: try a current Chrome, Edge, Firefox or Safari.";
const NO_SIMD = "This browser lacks WebAssembly SIMD, which the networks need: try a current Chrome, Edge, Firefox or Safari.";
const BROKEN = "The engine of this page stopped unexpectedly: reload the page.";

// A module with one function that uses v128: (func (result v128) i32.const 0 i8x16.splat).
const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11];

/** Why this browser cannot run the engine, or "". */
function deviceLacks() {
  if (typeof Worker !== "function" || typeof OffscreenCanvas !== "function") return NO_WORKER;
  return typeof WebAssembly === "object" && WebAssembly.validate(new Uint8Array(SIMD)) ? "" : NO_SIMD;
}

/** The worker of the site at `base`, a URL; `open` resolves once it can read, and rejects with a sentence. */
class Device {
  constructor(base, settings, model) {
    this.waiting = new Map();
    this.last = 0;
    this.worker = new Worker(new URL("worker.js", base));
    this.worker.onmessage = ({ data: { content, buffers } }) => {
      const { resolve, reject } = this.waiting.get(content.id);
      this.waiting.delete(content.id);
      if (content.error) reject(new Error(content.error));
      else resolve([content, buffers]);
    };
    this.worker.onerror = () => { this.waiting.forEach((o) => o.reject(new Error(BROKEN))); this.waiting.clear(); };
    this.open = this.ask({ kind: "open", base: String(base), settings, model });
  }

  ask(content, buffers = []) {
    return new Promise((resolve, reject) => {
      const id = ++this.last;
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ content: { ...content, id }, buffers }, buffers.filter((o) => o.close));
    });
  }

  close() { this.worker.terminate(); }
}

/** What anywidget's model is to a view, without a kernel: values, events, and messages that `answer(content, buffers)` answers. */
class DeviceModel {
  constructor(values, answer) { Object.assign(this, { values, answer, heard: {} }); }

  get(name) { return this.values[name]; }
  set(name, value) {
    if (this.values[name] === value) return;
    this.values[name] = value;
    this.fire(`change:${name}`);
  }
  on(event, handler) { (this.heard[event] ??= []).push(handler); }
  fire(event, ...rest) { this.heard[event]?.forEach((o) => o(...rest)); }
  save_changes() {}

  async send({ id, ...content }, _, buffers) {
    let reply, out;
    try { [reply, out = []] = await this.answer(content, buffers); } catch (error) { reply = { error: error.message }; }
    this.fire("msg:custom", { ...reply, id }, out ?? []);
  }
}

/** The picture of a message with the faces that were read in it, as PNG. */
async function annotated(faces, reply, data, emotions) {
  const bitmap = await createImageBitmap(new Blob([data])), canvas = h("canvas"), pen = canvas.getContext("2d");
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  pen.drawImage(bitmap, 0, 0);
  drawFaces(pen, emotions, { faces: faces.map((o, i) => ({ ...o, track: i + 1 })), width: reply.width }, canvas.width, canvas.height, false);
  return (await new Promise((resolve) => canvas.toBlob(resolve, "image/png"))).arrayBuffer();
}

/** The page without a kernel: the views' models, answered by `device`. `told` is engine.json, `sample` a promise of bytes. */
function deviceModels(device, told, sample) {
  const { about } = told, first = told.model, here = { place: "device" };
  const emotions = (name) => about[name].emotions;
  const answer = async (content, buffers) => {
    if (content.kind === "sample") return [{ name: "sample.jpg" }, [await sample]];
    if (content.kind !== "annotate") return device.ask(content, buffers);
    const [reply] = await device.ask({ ...content, kind: "photo" }, buffers);
    return [{}, [await annotated(reply.faces, reply, buffers[0], emotions(shell.get("model")))]];
  };
  const make = (kind, values) => new DeviceModel({ kind, model: first, emotions: emotions(first), ...here, ...values }, answer);
  const parts = { photo: make("photo"), camera: make("camera"), about: make("about", { card: about[first].card }) };
  const shell = make("shell", { models: told.models, notice: "", photo: "photo", camera: "camera", about: "about" });
  shell.on("change:model", async () => {
    const name = shell.get("model"), [before] = [parts.photo.get("model")];
    if (name === before) return;
    try { await device.ask({ kind: "use", model: name }); } catch (error) {
      shell.set("notice", error.message);
      return shell.set("model", before);
    }
    shell.set("notice", "");
    for (const part of Object.values(parts)) { part.set("emotions", emotions(name)); part.set("card", about[name].card); part.set("model", name); }
  });
  device.open.catch((error) => shell.set("notice", error.message));
  return { shell, ...parts };
}

/** Who reads the camera's frames: a kernel, or a worker in this page where the engine's files lie beside it, the browser can run them, and the visitor wants it. */
class Reader {
  constructor(model, signal) {
    Object.assign(this, { model, kernel: channel(model, signal), place: model.get("place") || "kernel", device: null });
    this.told = model.get("device")?.settings ? model.get("device") : null;
    this.lacks = this.told ? deviceLacks() : "";
    if (this.able) this.place = "device";
    signal?.addEventListener("abort", () => this.device?.close());
  }

  /** Why only the kernel can read, or "". */
  get only() {
    const name = this.model.get("model");
    return this.lacks || (this.told && !this.told.settings.models[name] ? `The model ${name} runs on the server only.` : "");
  }

  /** Whether the visitor has a choice. */
  get able() { return Boolean(this.told && !this.only); }

  get words() { return PLACES[this.place]; }

  /** Resolves once frames can be read here; rejects with a sentence, and then the kernel is who reads. */
  async open() {
    if (!this.told || this.place !== "device") return;
    const name = this.model.get("model");
    try {
      this.device ??= new Device(new URL(this.told.path, location.href), this.told.settings, name);
      await this.device.open;
      await this.device.ask({ kind: "use", model: name });
    } catch (error) {
      this.device?.close();
      Object.assign(this, { device: null, lacks: error.message, place: "kernel" });
      throw error;
    }
  }

  async ask(content, buffers, patience) {
    if (!this.told || this.place !== "device") return this.kernel(content, buffers, patience);
    const [reply, out] = await this.device.ask(content, buffers);
    return { ...reply, buffers: out };
  }
}
