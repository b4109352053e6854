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

/** One of ICONS as an SVG of the text's size and colour. */
function icon(name) {
  const el = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  el.setAttribute("viewBox", "0 0 24 24");
  el.setAttribute("class", "icon");
  el.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  el.append(path);
  return el;
}

const percent = (p, digits = 0) => `${(100 * p).toFixed(digits)}\u202f%`;
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

/** What a face is called: its label, or "uncertain" below the model's threshold, which no emotion's colour belongs to. */
const answerOf = (face) => (face.uncertain ? "uncertain" : face.label);

/** "happy 93%", or "uncertain" alone: a percentage behind that would read as how uncertain. */
const spoken = (face) => (face.uncertain ? "uncertain" : `${face.label} ${percent(face.confidence)}`);

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

/** A face's chip: number and answer on the emotion's colour. */
function chip(emotions, face, number) {
  const colour = colourOf(emotions, answerOf(face));
  const text = `${number === null ? "" : number + "\u2002"}${spoken(face)}`;
  return h("span.chip", { style: `background:${colour};color:${inkOn(colour)}` }, text);
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
const GONE = "No answer: the connection to the program is lost. Reload the page to start afresh.";

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
        reject(new Lost(GONE));
      }, timeout);
      waiting.set(id, { resolve, reject, timer });
      try {
        model.send({ ...content, id }, undefined, buffers);
      } catch {
        clearTimeout(timer);
        waiting.delete(id);
        reject(new Lost(GONE));
      }
    });
  };
}
