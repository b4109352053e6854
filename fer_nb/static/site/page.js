// The page without a server: the views of the dashboard, answered by a worker.
import views, { Device, deviceLacks, deviceModels, h } from "./app.js";

const opening = document.getElementById("opening"), step = opening.querySelector(".step"), base = new URL(".", location.href);

function fail(sentence) {
  opening.classList.add("failed");
  step.textContent = sentence;
}

async function loaded(name) {
  const reply = await fetch(new URL(name, base)).catch(() => null);
  if (!reply?.ok) throw new Error(`${name} cannot be loaded: check the connection, then reload the page.`);
  return reply;
}

/** Asks before a new version of the page takes the place of this one. */
function offer(worker) {
  const take = () => {
    navigator.serviceWorker.addEventListener("controllerchange", () => location.reload(), { once: true });
    worker.postMessage("take over");
  };
  document.body.append(h("div", { id: "update", role: "status" }, "A new version of this page is ready.", h("button", { onclick: take }, "Use it now")));
}

/** Keeps what this visit has loaded, so that the next one needs no network. */
async function stay(device) {
  const registration = await navigator.serviceWorker.register(new URL("sw.js", base));
  const watch = (worker) => worker?.addEventListener("statechange", () => { if (worker.state === "installed" && navigator.serviceWorker.controller) offer(worker); });
  if (registration.waiting && navigator.serviceWorker.controller) offer(registration.waiting);
  registration.addEventListener("updatefound", () => watch(registration.installing));
  const [{ files }] = await device.ask({ kind: "loaded" });
  const here = performance.getEntriesByType("resource").map((o) => o.name), { active } = await navigator.serviceWorker.ready;
  navigator.serviceWorker.addEventListener("message", () => { document.documentElement.dataset.offline = "ready"; });
  active.postMessage([...new Set([location.href.replace(/[?#].*/, ""), ...here, ...files])]);
}

async function start() {
  const lacks = deviceLacks();
  if (lacks) return fail(lacks);
  const told = await (await loaded("engine.json")).json(), sample = loaded("sample.jpg").then((o) => o.arrayBuffer());
  const device = new Device(base, told.settings, told.model), models = deviceModels(device, told, sample);
  const host = { getWidget: async (name) => ({ render: ({ el, signal }) => views.render({ model: models[name], el, signal, host }) }) };
  views.render({ model: models.shell, el: document.getElementById("page"), host });
  opening.hidden = true;
  await Promise.all([device.open, sample]);
  performance.mark("fer-nb-ready");
  document.documentElement.dataset.engine = "ready";
  if (navigator.serviceWorker) await stay(device).catch((error) => console.warn(`The page is not stored for use without a network: ${error.message}`));
}

start().catch((error) => fail(error.message));
