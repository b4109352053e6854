// What every view of the page needs. fer_nb.apps.widgets joins the files of this folder into one module, so there are no imports.

/** h('button.big', {onclick: f, title: 'Go'}, 'text', node): a DOM element; attributes that are null or false are left out. */
function h(what, attributes = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const el = document.createElement(tag || "div");
  if (classes.length) el.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) el.addEventListener(key.slice(2), value);
    else if (key === "style") el.style.cssText = value;
    else el.setAttribute(key, value === true ? "" : value);
  }
  el.append(...children.flat().filter((o) => o !== null && o !== undefined));
  return el;
}

const ICONS = {
  photo: "M4 5h3l2-2h6l2 2h3a1 1 0 0 1 1 1v13a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V6a1 1 0 0 1 1-1Zm8 3a5 5 0 1 0 0 10 5 5 0 0 0 0-10Z",
  drop: "M12 3v11m0 0-4-4m4 4 4-4M4 17v3h16v-3",
  close: "M5 5l14 14M19 5 5 19",
};

/** vector("circle", {r: 3}, children): an SVG element. */
function vector(tag, attributes = {}, ...children) {
  const el = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) el.setAttribute(key, value);
  el.append(...children);
  return el;
}

/** One of ICONS as an SVG of the text's size and colour. */
const icon = (name) => vector("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" }, vector("path", { d: ICONS[name] }));

const percent = (p, digits = 0) => `${(100 * p).toFixed(digits)}%`;
const count = (n, one, many = one + "s") => `${n} ${n === 1 ? one : many}`;

/** Black or white, whichever reads better on '#RRGGBB' (WCAG relative luminance, as in fer_nb.inference.draw). */
function inkOn(colour) {
  const [r, g, b] = [1, 3, 5].map((i) => {
    const v = parseInt(colour.slice(i, i + 2), 16) / 255;
    return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  });
  return 1.05 / (0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05) >= 3.4 ? "#ffffff" : "#14191f";
}

/** The colour of a label, from the model's `emotions`: [{label, colour}]. */
const colourOf = (emotions, label) => emotions.find((o) => o.label === label)?.colour ?? "#8a8f98";

/** [[label, how many of ten people]], the most frequent first, without those that nobody would say. */
const saidBy = (face) => Object.entries(face.people).filter(([, n]) => n).sort((a, b) => b[1] - a[1]);

/** What a face is called: its label, both labels where people would be divided, or, in no emotion's colour, "uncertain" or the reason for it. */
const wordsOf = (face) => (face.uncertain ? [face.reason || "uncertain"] : face.mixed ? Object.keys(face.people).slice(0, 2) : [face.label]);

/** By how many degrees the box of a face is turned, as `fer_nb.inference.upright.turn_of`: not at all where the head is upright enough. */
const turnOf = (face) => face.roll * Math.min(1, Math.max(0, (Math.abs(face.roll) - LEVEL[0]) / (LEVEL[1] - LEVEL[0])));

/** The words of a face's chip: ["3\u2002happy 93%"], ["fear", "surprise"]; a percentage is only for a label that stands alone. */
function spoken(face, number) {
  const words = wordsOf(face);
  if (!face.uncertain && !face.mixed) words[0] += ` ${percent(face.confidence)}`;
  if (face.person) words[0] = `${face.person}: ${words[0]}`;
  if (number !== null) words[0] = `${number}\u2002${words[0]}`;
  return words;
}

/** Ten people: figures in the emotions' colours, each with its label's letter, grouped in the order of the sentence; `set(face)` shows another. */
function people(emotions) {
  const picture = vector("svg", { role: "img", viewBox: "0 0 262 31" }), said = h("figcaption", { "aria-hidden": "true" });
  const el = h("figure.people", {}, picture, said);
  let shown = null;
  el.set = (face) => {
    if (shown === face.sentence) return;
    shown = face.sentence;
    said.textContent = `${face.sentence}.`;
    picture.setAttribute("aria-label", face.sentence);
    picture.replaceChildren();
    let x = 0;
    for (const [label, n] of saidBy(face)) {
      const colour = colourOf(emotions, label), letters = emotions.find((o) => o.label === label)?.initial ?? "";
      for (let i = 0; i < n; i++, x += 22.5) picture.append(figure(x, colour, letters));
      x += 6;
    }
  };
  return el;
}

const figure = (x, colour, letters) =>
  vector("g", { transform: `translate(${x} 0)`, fill: colour },
    vector("circle", { cx: 10, cy: 5.8, r: 5.6 }), vector("path", { d: "M0 31V20.6a7.6 7.6 0 0 1 7.6-7.6h4.8a7.6 7.6 0 0 1 7.6 7.6V31z" }),
    vector("text", { x: 10, y: 26.6, "font-size": letters.length > 1 ? 10 : 12, fill: inkOn(colour) }, letters));

/** A chart of horizontal bars, one a label; `set(probabilities)` moves them. */
function bars(emotions) {
  const rows = emotions.map(({ label, colour }) => {
    const fill = h("span.fill", { style: `background:${colour}` });
    const value = h("span.value");
    return { fill, value, el: h("div.bar", { role: "listitem" }, h("span.name", {}, label), h("span.track", {}, fill), value) };
  });
  const el = h("div.bars", { role: "list" }, rows.map((o) => o.el));
  el.set = (probabilities) => {
    const best = Math.max(...probabilities);
    rows.forEach((row, i) => {
      row.fill.style.width = `${100 * probabilities[i]}%`;
      row.value.textContent = percent(probabilities[i]);
      row.el.classList.toggle("best", probabilities[i] === best);
    });
  };
  return el;
}

/** A face's chip: number and answer on the emotion's colour; where people would be divided, both labels, each on its own. */
function chip(emotions, face, number) {
  const colours = wordsOf(face).map((o) => colourOf(emotions, o));
  const parts = spoken(face, number).map((word, i) =>
    h("span", { style: `background:${colours[i]};color:${inkOn(colours[i])}` }, i ? h("span.unseen", {}, ", ") : null, word));
  return h("span.chip", {}, parts);
}

function download(name, content, type) {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  const a = h("a", { href: url, download: name });
  document.body.append(a);
  a.click();
  a.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

/** 'holiday.final.png' -> 'holiday.final' */
const stem = (name) => name.replace(/\.[^.]*$/, "") || "picture";

class Lost extends Error {}

/** What the page says of where pictures are read: by the program that serves it, or by itself. */
const PLACES = {
  kernel: {
    here: "this machine",
    name: "On the server",
    means: "Frames go to the program that serves this page, are read there, and are forgotten.",
    privacy: "No picture is stored or passed on. Photos and camera frames go from this page to the program that serves it, are read there, and are forgotten. The page loads nothing from other machines and works without a network.",
    gone: "No answer: the connection to the program is lost. Reload the page to start again.",
    lost: "The connection to the program is lost. Trying again. If this does not help, reload the page.",
  },
  device: {
    here: "this device",
    name: "On this device",
    means: "Frames do not leave this browser, and the page asks the server for nothing while the camera runs.",
    privacy: "No picture leaves this device. Photos and camera frames are read by the page itself, in your browser, and are forgotten. Once loaded, the page makes no more requests and works without a network.",
    gone: "No answer: the engine of this page has stopped. Reload the page to start again.",
    lost: "The engine of this page does not answer. Trying again. If this does not help, reload the page.",
  },
};
const placeOf = (model) => PLACES[model.get("place") || "kernel"];

/** Requests to Python over the widget's channel, matched to their replies by number. A reply with `error` rejects with its sentence. */
function channel(model, signal) {
  const waiting = new Map();
  let last = 0;
  model.on("msg:custom", (message, buffers) => {
    const one = waiting.get(message.id);
    if (!one) return;
    waiting.delete(message.id);
    clearTimeout(one.timer);
    if (message.error) one.reject(Object.assign(new Error(message.error), { reply: message }));
    else one.resolve({ ...message, buffers });
  });
  signal?.addEventListener("abort", () => waiting.forEach((o) => clearTimeout(o.timer)));
  return function ask(content, buffers = [], timeout = 60000) {
    const id = `${model.get("_anywidget_id")}-${++last}-${Math.random().toString(36).slice(2, 8)}`;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        waiting.delete(id);
        reject(new Lost(placeOf(model).gone));
      }, timeout);
      waiting.set(id, { resolve, reject, timer });
      try {
        model.send({ ...content, id }, undefined, buffers);
      } catch {
        clearTimeout(timer);
        waiting.delete(id);
        reject(new Lost(placeOf(model).gone));
      }
    });
  };
}
