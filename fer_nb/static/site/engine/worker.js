// The engine: answers the page's messages as fer_nb.apps.widgets does in a kernel, one at a time.
import { smallestFace } from "./detect.js";
import { fetched, openDetector, openNetwork, startRuntime } from "./network.js";
import { numbers } from "./numbers.js";
import { frameOf, openPhoto, pixelsOf } from "./photos.js";
import { pictureOf, readFaces, Stream, told } from "./recognize.js";

const state = { models: new Map() };

/** The network of models/NAME.tflite, ready to run; files are fetched while the runtime starts. */
async function opened(name, title, sha256, open = openNetwork) {
  const data = await fetched(new URL(`models/${name}.tflite?${sha256.slice(0, 8)}`, state.base), title, sha256);
  await state.runtime;
  return open(data);
}

async function load(name) {
  const { sha256, ...card } = state.settings.models[name];
  if (!state.models.has(name)) state.models.set(name, { ...card, net: await opened(name, `The network ${name}`, sha256) });
  return state.models.get(name);
}

const handlers = {
  async open({ base, settings, model }) {
    Object.assign(numbers, settings.detector);
    Object.assign(state, { base, settings, stream: new Stream(settings.tracker), runtime: startRuntime(new URL(`runtime-${settings.runtime}/`, base)) });
    const [detector, views] = await Promise.all([
      opened("detector", "The face detector", settings.detector.sha256, openDetector),
      opened("views", "The network of views", settings.views.sha256), handlers.use({ model }),
    ]);
    Object.assign(state, { detector, views: { ...settings.views, net: views } });
    return [{}];
  },

  async use({ model }) {
    state.model = await load(model);
    state.stream.tracker.reset();
    return [{}];
  },

  async photo({ name, closer }, [data]) {
    const start = performance.now(), { image, original } = await openPhoto(data, name), { width, height } = image;
    const least = smallestFace(width, height) / (closer ? 2 : 1);
    const faces = await readFaces(state, pictureOf(image), { minFace: least });
    return [{ faces: faces.map((o) => told(o, state)), width, height, original, least, ms: performance.now() - start }];
  },

  async frame({ time, most }, [picture]) {
    const start = performance.now(), frame = picture instanceof ImageBitmap ? pixelsOf(picture) : await frameOf(picture, most);
    const faces = await state.stream.read(state, pictureOf(frame), time);
    return [{ faces: faces.map((o) => told(o, state)), width: frame.width, height: frame.height, ms: performance.now() - start }];
  },

  /** The addresses of all files that the engine has loaded. */
  async loaded() { return [{ files: performance.getEntriesByType("resource").map((o) => o.name) }]; },

  async reset() { state.stream.tracker.reset(); return [{}]; },
};

let before = Promise.resolve();
self.onmessage = ({ data: { content, buffers } }) => {
  before = before.then(async () => {
    let reply, out = [];
    try { [reply, out = []] = await handlers[content.kind](content, buffers); } catch (error) { reply = { error: error.message }; }
    self.postMessage({ content: { id: content.id, ...reply }, buffers: out }, out);
  });
};
