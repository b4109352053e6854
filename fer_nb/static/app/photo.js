// Photos: dropped, chosen or pasted; shrunk here, read by the engine, shown with boxes, bars, a table and downloads.

const LONGEST = 1600; // pixels of the longer side that travel; twice as many to look closer
const MOST_MEGAPIXELS = 80;
const MOST_BYTES = 64e6;
const MOST_RAW_BYTES = 16e6; // of a file that the browser cannot open: sent as it is, for Python to open or to name

const decoded = (url) =>
  new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error("not decodable"));
    image.src = url;
  });

/** Whether a JPEG or PNG lacks its end; a browser would show its upper part as if nothing were missing. */
async function cutShort(file) {
  const bytes = async (from, to) => new TextDecoder("latin1").decode(await file.slice(from, to).arrayBuffer());
  const head = await bytes(0, 4), tail = await bytes(Math.max(0, file.size - 65536), file.size);
  // TextDecoder's latin1 is windows-1252: FF and D8 to D9 stand for themselves, 89 is \u2030.
  return (head.startsWith("\xff\xd8") && !tail.includes("\xff\xd9")) || (head === "\u2030PNG" && !tail.includes("IEND"));
}

/** A picture file -> {blob, width, height} upright and at most `longest` pixels long; null if the browser cannot open it. */
async function shrink(file, longest) {
  const url = URL.createObjectURL(file);
  try {
    const image = await decoded(url).catch(() => null);
    if (!image || !image.naturalWidth || file.type.includes("svg")) return null;
    const { naturalWidth: width, naturalHeight: height } = image;
    if (width * height > MOST_MEGAPIXELS * 1e6)
      throw new Error(
        `${file.name} has ${Math.round((width * height) / 1e6)} megapixels, and this page takes up to ${MOST_MEGAPIXELS}: make it smaller first.`
      );
    const scale = Math.min(1, longest / Math.max(width, height));
    const canvas = h("canvas");
    canvas.width = Math.max(1, Math.round(width * scale));
    canvas.height = Math.max(1, Math.round(height * scale));
    const pen = canvas.getContext("2d");
    pen.fillStyle = "#ffffff"; // under what is transparent
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.imageSmoothingQuality = "high";
    pen.drawImage(image, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.93));
    return blob && { blob, width, height };
  } finally {
    URL.revokeObjectURL(url);
  }
}

/** What to send of a file: the shrunk picture, or the file itself for Python to open or to name. */
async function prepare(file, longest = LONGEST) {
  if (!file.size) throw new Error(`${file.name} is empty (0 bytes): save or download it again.`);
  if (file.size > MOST_BYTES)
    throw new Error(`${file.name} has ${Math.round(file.size / 1e6)} MB, and this page takes up to ${MOST_BYTES / 1e6}: make it smaller first.`);
  const raw = file.size <= MOST_RAW_BYTES && (await cutShort(file));
  const small = raw ? null : await shrink(file, longest);
  if (small) return small;
  if (file.size > MOST_RAW_BYTES)
    throw new Error(`${file.name} cannot be opened by this browser: convert it to JPEG or PNG.`);
  return { blob: file, width: null, height: null };
}

/** Boxes with numbered chips over the picture, in percent of it, so that they keep their place at any size. */
function overlay(emotions, faces, width, height) {
  return faces.map((face, i) => {
    const [bx, by, bw, bh] = face.box, turn = turnOf(face), angle = (turn * Math.PI) / 180;
    const [c, s] = [Math.abs(Math.cos(angle)), Math.abs(Math.sin(angle))];
    const w = c * bw + s * bh, high = s * bw + c * bh, x = bx + (bw - w) / 2, y = by + (bh - high) / 2; // upright, around the turned box
    const place = `left:${(100 * x) / width}%;top:${(100 * y) / height}%;width:${(100 * w) / width}%;height:${(100 * high) / height}%`;
    const edge = `width:${(100 * bw) / w}%;height:${(100 * bh) / high}%;transform:translate(-50%,-50%) rotate(${turn.toFixed(1)}deg)`;
    const inside = y / height < 0.07 ? ".inside" : "";
    const right = (x + w / 2) / width > 0.6 ? ".right" : "";
    const [one, other] = wordsOf(face).map((o) => colourOf(emotions, o));
    return h(`div.box${inside}${right}${other ? ".mixed" : ""}`, { style: `${place};--colour:${one};--other:${other}`, "data-face": i + 1 },
      h("div.edge", { style: edge }), chip(emotions, face, i + 1));
  });
}

function faceTable(faces) {
  const named = faces.some((o) => o.person);
  const head = ["face", ...(named ? ["person"] : []), "answer", "sure", "of ten people", "box: x, y, width, height"].map((o) => h("th", { scope: "col" }, o));
  const rows = faces.map((face, i) => {
    const ten = saidBy(face).map(([label, n]) => `${n} ${label}`).join(", ");
    const who = named ? [face.person ?? ""] : [];
    const cells = [i + 1, ...who, face.answer, face.answer === face.label ? percent(face.confidence) : "", ten, face.box.map(Math.round).join(", ")];
    return h("tr", {}, cells.map((o) => h("td", {}, String(o))));
  });
  return h("div.scroll", {}, h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows)));
}

const NONE = [
  "No face found in this picture.",
  "Faces are found when they look towards the camera in good light. Try a closer or brighter picture, or crop it around the face.",
];

/** A picture's card on the page: shows its progress, then its result or one sentence of what went wrong. */
class PhotoCard {
  constructor(file, view) {
    Object.assign(this, { file, view, state: "waiting", faces: [] });
    this.status = h("p.status", { role: "status" }, "Waiting");
    this.body = h("div.body");
    this.tools = h("div.tools");
    const remove = h("button.quiet", { title: `Remove ${file.name}`, "aria-label": `Remove ${file.name}`, onclick: () => view.remove(this) }, icon("close"));
    this.el = h("article.card.photo", { "aria-label": file.name },
      h("header", {}, h("h3", { title: file.name }, file.name), this.status, this.tools, remove), this.body);
  }

  say(state, text) {
    this.state = state;
    this.el.dataset.state = state;
    this.status.textContent = text;
  }

  async read() {
    try {
      this.say("working", "Reading");
      this.sent ??= await prepare(this.file, this.closer ? 2 * LONGEST : LONGEST);
      const data = new DataView(await this.sent.blob.arrayBuffer());
      const reply = await this.view.ask({ kind: "photo", name: this.file.name, preview: this.sent.width === null, closer: this.closer }, [data]);
      this.show(reply);
    } catch (error) {
      this.faces = [];
      this.body.replaceChildren(h("p.message.bad", {}, error.message));
      this.tools.replaceChildren();
      this.say("bad", "Not read");
    }
  }

  show(reply) {
    const emotions = this.view.emotions();
    if (reply.buffers.length) this.sent = { ...this.sent, blob: new Blob([reply.buffers[0]], { type: "image/jpeg" }) };
    this.sent.width ??= reply.original[0];
    this.sent.height ??= reply.original[1];
    const scale = this.sent.width / reply.width;
    const scaled = (v) => Math.round(v * scale * 10) / 10;
    this.faces = reply.faces.map((o) => ({ ...o, box: o.box.map(scaled), landmarks: o.landmarks && o.landmarks.map((p) => p.map(scaled)) }));
    this.url ??= URL.createObjectURL(this.sent.blob);
    const said = this.faces.map((o, i) => `face ${i + 1}: ${o.answer}`).join("; ");
    const picture = h("div.picture", {}, h("img", { src: this.url, alt: `${this.file.name}; ${said || "no face found"}` }),
      overlay(emotions, this.faces, this.sent.width, this.sent.height));
    const panels = this.faces.map((face, i) => this.panel(face, i, picture));
    const side = panels.length ? h("div.faces", {}, panels) : h("div.message", {}, h("strong", {}, NONE[0]), h("p", {}, NONE[1]));
    const least = Math.round(reply.least * scale);
    const again = this.closer ? "" : h("button.small", { onclick: () => this.lookCloser(), "aria-label": `Look closer at ${this.file.name}` }, "Look closer");
    const sought = h("p.fine.sought", {}, `Searched for faces of ${least} pixels and larger. `, again);
    this.body.replaceChildren(h("div.split", {}, picture, side), sought, ...(panels.length ? [faceTable(this.faces)] : []));
    this.say("done", `${count(this.faces.length, "face")}, ${Math.round(reply.ms)} ms`);
    this.tools.replaceChildren(...this.buttons());
  }

  /** Reads a finer copy again, for faces of half the size. */
  lookCloser() {
    this.free();
    Object.assign(this, { closer: true, sent: null, url: null });
    this.view.again(this);
  }

  panel(face, i, picture) {
    const chart = bars(this.view.emotions()), ten = people(this.view.emotions());
    chart.set(Object.values(face.probabilities));
    ten.set(face);
    const mark = (on) => picture.querySelector(`[data-face="${i + 1}"]`)?.classList.toggle("marked", on);
    return h("section.face", { "aria-label": `Face ${i + 1}`, onmouseenter: () => mark(true), onmouseleave: () => mark(false) },
      chip(this.view.emotions(), face, i + 1), ten, chart, this.view.able() ? this.naming(i) : null);
  }

  /** A closed form that names a face, if the person agrees. */
  naming(i) {
    const name = h("input", { type: "text", maxLength: 80, required: true, "aria-label": `Name of face ${i + 1}`, placeholder: "Name" });
    const agreed = h("input", { type: "checkbox", required: true }), told = h("p.fine", { role: "status" });
    const enrol = async (event) => {
      event.preventDefault();
      try {
        const data = new DataView(await this.sent.blob.arrayBuffer());
        await this.view.ask({ kind: "enrol", name: this.file.name, closer: this.closer, face: i, person: name.value, agreed: agreed.checked }, [data]);
      } catch (error) { told.textContent = error.message; }
    };
    return h("details.naming", {}, h("summary", {}, "Name this face"),
      h("form", { onsubmit: enrol }, name,
        h("label.fine", {}, agreed, " This person agrees to be recognised on this page. The name and the data of the face stay in the page's memory and are gone when you close it."),
        h("button.small", { type: "submit" }, "Recognise"), told));
  }

  buttons() {
    const name = stem(this.file.name);
    const make = (text, action) => h("button.small", { onclick: action, "aria-label": `Download ${text} of ${this.file.name}` }, text);
    return [
      make("CSV", () => download(`${name}_faces.csv`, toCsv([this], this.view.emotions()), "text/csv")),
      make("JSON", () => download(`${name}_faces.json`, toJson([this]), "application/json")),
      make("PNG", () => this.annotated().catch((e) => this.say("done", e.message))),
    ];
  }

  async annotated() {
    const data = new DataView(await this.sent.blob.arrayBuffer());
    const reply = await this.view.ask({ kind: "annotate", name: this.file.name, closer: this.closer }, [data]);
    download(`${stem(this.file.name)}_faces.png`, new Blob([reply.buffers[0]], { type: "image/png" }));
  }

  free() { if (this.url) URL.revokeObjectURL(this.url); }
}

/** The columns of `fer-nb predict --csv`, those of persons only where a face has a name; a picture without a face has a row with empty cells. */
function toCsv(cards, emotions) {
  const labels = emotions.map((o) => o.label);
  const quote = (v) => (/[",\n]/.test(v) ? `"${String(v).replaceAll('"', '""')}"` : v);
  const extra = cards.some(({ faces }) => faces.some((o) => o.person)) ? ["person", "person_confidence"] : [];
  const lines = [["file", "face", "x", "y", "width", "height", "score", "label", "confidence", "uncertain", "agreement", "answer", "mixed", ...extra, ...labels]];
  for (const { file, faces } of cards) {
    if (!faces.length) lines.push([file.name, 0, ...Array(11 + extra.length + labels.length).fill("")]);
    faces.forEach((o, i) => {
      const told = [o.score, o.label, o.confidence, Number(o.uncertain), o.agreement, o.answer, Number(o.mixed)];
      lines.push([file.name, i + 1, ...o.box, ...told, ...extra.map((k) => o[k] ?? ""), ...labels.map((l) => o.probabilities[l])]);
    });
  }
  return lines.map((line) => line.map(quote).join(",")).join("\n") + "\n";
}

const toJson = (cards) =>
  JSON.stringify(cards.map(({ file, sent, faces }) => ({
    file: file.name, width: sent.width, height: sent.height, faces: faces.map(({ sentence, ...o }) => o),
  })), null, 1) + "\n";

function photoView({ model, el, signal }) {
  const cards = [];
  const list = h("div.cards");
  const total = h("p.total", { role: "status" });
  const all = h("div.toolbar", { hidden: true }, total,
    h("button.small", { onclick: () => download("faces.csv", toCsv(done(), view.emotions()), "text/csv") }, "All as CSV"),
    h("button.small", { onclick: () => download("faces.json", toJson(done()), "application/json") }, "All as JSON"),
    h("button.small", { onclick: () => [...cards].forEach((o) => view.remove(o)) }, "Clear"));
  const done = () => cards.filter((o) => o.state === "done");
  let working = false;

  const view = {
    ask: channel(model, signal),
    emotions: () => model.get("emotions"),
    able: () => Boolean(model.get("able")),
    again(card) {
      card.say("waiting", "Waiting");
      summary();
      work();
    },
    remove(card) {
      cards.splice(cards.indexOf(card), 1);
      card.el.remove();
      card.free();
      summary();
    },
  };

  function summary() {
    const faces = done().reduce((n, o) => n + o.faces.length, 0);
    const bad = cards.filter((o) => o.state === "bad").length;
    const left = cards.length - done().length - bad;
    total.textContent = `${count(done().length, "photo")}, ${count(faces, "face")}` + (bad ? `, ${bad} not read` : "") + (left ? `, ${left} to go` : "");
    all.hidden = !cards.length;
    zone.classList.toggle("small", cards.length > 0);
  }

  async function work() {
    if (working) return;
    working = true;
    for (let card; (card = cards.find((o) => o.state === "waiting")); summary()) await card.read();
    working = false;
  }

  function add(files) {
    for (const file of [...files].reverse()) {
      const card = new PhotoCard(file, view);
      cards.unshift(card);
      list.prepend(card.el);
    }
    summary();
    work();
  }

  const input = h("input", { type: "file", multiple: true, accept: "image/*,.heic,.heif,.hif,.avif,.jxl", hidden: true, onchange: () => { add(input.files); input.value = ""; } });
  async function sample() {
    try {
      const reply = await view.ask({ kind: "sample" });
      add([new File([reply.buffers[0]], reply.name, { type: "image/jpeg" })]);
    } catch (error) { note.textContent = error.message; }
  }
  const note = h("p.fine", { role: "status" }, `Pictures stay on ${placeOf(model).here} and are not kept.`);
  const zone = h("div.drop", {},
    icon("drop"), h("p", {}, h("strong", {}, "Drop photos here"), ", paste, or"),
    h("div.row", {}, h("button.primary", { onclick: () => input.click() }, "Choose photos"), h("button", { onclick: sample }, "Try the sample photo")),
    note, input);

  const on = (target, event, handler) => target.addEventListener(event, handler, { signal });
  const visible = () => el.offsetParent !== null;
  let depth = 0;
  const hover = (change) => { depth = change === 0 ? 0 : Math.max(0, depth + change); zone.classList.toggle("over", depth > 0); };
  on(window, "dragenter", (e) => { if (visible() && e.dataTransfer?.types.includes("Files")) { e.preventDefault(); hover(1); } });
  on(window, "dragleave", () => hover(-1));
  on(window, "dragover", (e) => { if (e.dataTransfer?.types.includes("Files")) e.preventDefault(); }); // a miss must not leave the page
  on(window, "drop", (e) => {
    hover(0);
    if (!e.dataTransfer?.files.length) return;
    e.preventDefault();
    if (visible()) add(e.dataTransfer.files);
  });
  on(document, "paste", (e) => { if (visible() && e.clipboardData?.files.length) add(e.clipboardData.files); });
  const afresh = () => { cards.forEach((o) => { if (o.state !== "working") o.say("waiting", "Waiting"); }); summary(); work(); };
  model.on("change:model", afresh);

  const enrolled = h("div.toolbar.enrolled", { hidden: true, "aria-label": "People named on this page" });
  const forget = (person) => view.ask({ kind: "forget", person }).catch((error) => { note.textContent = error.message; });
  model.on("change:enrolled", () => {
    const people = model.get("enrolled");
    enrolled.hidden = !people.length;
    enrolled.replaceChildren(h("span.fine", {}, "Recognised on this page:"), ...people.map((o) =>
      h("span", {}, `${o.name} (${count(o.photos, "photo")}) `, h("button.small", { onclick: () => forget(o.name), "aria-label": `Forget ${o.name}` }, "Forget"))));
    afresh();
  });

  el.append(h("div.fer-nb-photo", {}, zone, enrolled, all, list));
  return () => cards.forEach((o) => o.free());
}
