// The notebook's widgets: a grid of faces with filters, a live curve, a confusion matrix to click on. fer_nb.apps.lab joins this
// file to app/common.js. Pixels come as one sheet a page, over the widget's channel, so that none is saved in a notebook.

/** Faces cut from one sheet: `items` in rows of `across`, each `side` pixels; `title` says what a face's tooltip is. */
function tiles(sheet, items, across, side, title, mark) {
  const url = URL.createObjectURL(new Blob([sheet], { type: "image/png" }));
  const el = h("div.tiles", { role: "list" }, items.map((item, i) => {
    const at = `-${(i % across) * side}px -${Math.floor(i / across) * side}px`;
    const style = `width:${side}px;height:${side}px;background:url(${url}) ${at};border-color:${mark?.(item) ?? "transparent"}`;
    return h("div.tile", { role: "listitem", style, title: title(item), "aria-label": title(item), tabindex: 0 });
  }));
  el.release = () => URL.revokeObjectURL(url);
  return el;
}

const choice = (label, options, change) =>
  h("label.choice", {}, label, h("select", { onchange: (e) => change(e.target.value), "aria-label": label }, options.map((o) => h("option", { value: o }, o))));

/** A place for tiles with a line above and buttons to turn the page; `show(reply)` fills it. */
function pager(turn, title, mark) {
  const line = h("p.total", { "aria-live": "polite" }), place = h("div");
  const back = h("button.small", { onclick: () => turn(-1) }, "‹ before"), next = h("button.small", { onclick: () => turn(1) }, "next ›");
  let now = null;
  const el = h("div.pager", {}, h("div.row", {}, line, back, next), place);
  el.show = (r) => {
    now?.release();
    line.textContent = r.total ? `${count(r.total, "face")}, page ${r.page + 1} of ${r.pages}` : "No faces match.";
    back.disabled = r.page <= 0;
    next.disabled = r.page >= r.pages - 1;
    now = r.total ? tiles(r.buffers[0], r.items, r.across, r.side, title, mark) : null;
    place.replaceChildren(...(now ? [now] : []));
  };
  el.fail = (e) => { line.textContent = e.message; };
  return el;
}

function explorerView({ model, el, signal }) {
  const ask = channel(model, signal), emotions = model.get("emotions"), all = "all";
  const wish = { label: all, split: all, low: 0, high: 100, copies: all, order: "as filed", page: 0 };
  const colour = (item) => colourOf(emotions, item.label);
  const view = pager((by) => { wish.page += by; load(); }, (o) => `${o.label}, ${o.split}, sharper than ${o.sharper}% · ${o.source}`, colour);
  let latest = 0;
  async function load() {
    const mine = ++latest;
    try {
      const reply = await ask({ kind: "faces", ...wish });
      if (mine === latest) { wish.page = reply.page; view.show(reply); }
    } catch (e) { if (mine === latest) view.fail(e); }
  }
  const set = (key) => (value) => { wish[key] = value; wish.page = 0; load(); };
  const slider = (key, label) => h("label.choice", {}, label,
    h("input", { type: "range", min: 0, max: 100, value: wish[key], "aria-label": label, oninput: (e) => set(key)(+e.target.value) }));
  el.append(h("div.card", {}, h("div.row", {},
    choice("class", [all, ...emotions.map((o) => o.label)], set("label")), choice("split", [all, ...model.get("splits")], set("split")),
    choice("copies", [all, "only copies", "no copies"], set("copies")), choice("order", ["as filed", "blurred first", "sharp first", "copies together"], set("order")),
    slider("low", "sharper than, %"), slider("high", "blurrier than, %")), view));
  load();
}

/** Lines over epochs: accuracy and loss, training and validation. */
function curveView({ model, el }) {
  const W = 460, H = 200, P = { l: 44, r: 12, t: 14, b: 26 }, NS = "http://www.w3.org/2000/svg";
  const s = (tag, attributes, text) => {
    const o = document.createElementNS(NS, tag);
    for (const [k, v] of Object.entries(attributes)) o.setAttribute(k, v);
    if (text !== undefined) o.textContent = text;
    return o;
  };
  const line = h("p.total", { "aria-live": "polite" }), charts = h("div.row.charts");
  el.append(h("div.card", {}, line, charts));
  function chart(title, rows, keys, epochs) {
    const values = rows.flatMap((r) => keys.map(([k]) => r[k])).filter(Number.isFinite);
    const least = Math.min(...values), most = Math.max(...values), room = Math.max(.05, .15 * (most - least));
    const low = Math.max(0, least - room), high = title === "accuracy" ? Math.min(1, most + room) : most + room;
    const x = (e) => P.l + (e - 1) / Math.max(1, epochs - 1) * (W - P.l - P.r), y = (v) => P.t + (1 - (v - low) / (high - low || 1)) * (H - P.t - P.b);
    const svg = s("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${title} by epoch` });
    for (const f of [0, .5, 1]) {
      const v = low + f * (high - low);
      svg.append(s("line", { x1: P.l, x2: W - P.r, y1: y(v), y2: y(v), class: "grid" }), s("text", { x: P.l - 6, y: y(v) + 4, "text-anchor": "end" }, title === "accuracy" ? percent(v) : v.toFixed(2)));
    }
    svg.append(s("text", { x: P.l, y: H - 6 }, "1"), s("text", { x: W - P.r, y: H - 6, "text-anchor": "end" }, `epoch ${epochs}`));
    const ends = [];
    for (const [k, name, style] of keys) {
      const points = rows.filter((r) => Number.isFinite(r[k])).map((r) => [x(r.epoch), y(r[k])]);
      if (!points.length) continue;
      svg.append(s("polyline", { points: points.map((o) => o.join(",")).join(" "), class: `line ${style}` }));
      const [px, py] = points.at(-1);
      const under = ends.some((o) => Math.abs(o - py) < 15 && o <= py);
      ends.push(py);
      svg.append(s("circle", { cx: px, cy: py, r: 3, class: style }), s("text", { x: px - 6, y: py + (under ? 16 : -7), "text-anchor": "end", class: style }, name));
    }
    return h("figure", {}, svg, h("figcaption.fine", {}, title));
  }
  function draw() {
    const rows = model.get("rows"), epochs = model.get("epochs") || rows.length, at = model.get("progress");
    line.textContent = model.get("status") || "Waiting for the first batch.";
    el.style.setProperty("--progress", `${100 * at}%`);
    if (rows.length) charts.replaceChildren(
      chart("accuracy", rows, [["accuracy", "training", "a"], ["val_accuracy", "validation", "b"]], epochs),
      chart("loss", rows, [["loss", "training", "a"], ["val_loss", "validation", "b"]], epochs));
    else charts.replaceChildren();
  }
  model.on("change:rows change:status change:progress", draw);
  draw();
}

function errorsView({ model, el, signal }) {
  const ask = channel(model, signal), emotions = model.get("emotions"), counts = model.get("counts");
  let cell = null, page = 0;
  const view = pager((by) => { page += by; load(); }, (o) => `${o.truth}, read as ${o.answer} ${percent(o.confidence)} · ${o.source}`, (o) => colourOf(emotions, o.answer));
  const head = h("h3", {}, "Click a number to see its faces.");
  async function load() {
    try { const r = await ask({ kind: "cell", truth: cell[0], answer: cell[1], page }); page = r.page; view.show(r); } catch (e) { view.fail(e); }
  }
  const most = counts.map((row) => Math.max(1, row.reduce((a, b) => a + b, 0)));
  const buttons = [];
  const body = counts.map((row, i) => h("tr", {}, h("th", { scope: "row" }, emotions[i].label), row.map((n, j) => {
    const share = n / most[i];
    const button = h("button", {
      disabled: !n, style: `background:rgba(var(--heat),${(.06 + .94 * share).toFixed(3)});color:${share > .55 ? "var(--card)" : "var(--ink)"}`,
      "aria-label": `${emotions[i].label} read as ${emotions[j].label}: ${n}`,
      onclick: () => {
        cell = [i, j]; page = 0;
        buttons.forEach((o) => o.setAttribute("aria-pressed", o === button));
        head.textContent = i === j ? `${emotions[i].label}, recognised` : `${emotions[i].label}, read as ${emotions[j].label}`;
        load();
      },
    }, String(n));
    buttons.push(button);
    return h("td", {}, button);
  })));
  const top = h("tr", {}, h("td.fine", {}, "label \\ answer"), emotions.map((o) => h("th", { scope: "col" }, o.label)));
  el.append(h("div.card", {}, h("p.total", {}, model.get("summary")), h("table.errors", {}, h("thead", {}, top), h("tbody", {}, body)), head, view));
}

const LAB = { explorer: explorerView, curve: curveView, errors: errorsView };

export default {
  render({ model, el, signal }) {
    el.classList.add("fer-nb", "fer-nb-lab");
    return LAB[model.get("kind")]({ model, el, signal });
  },
};
