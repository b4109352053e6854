// The camera: small frames go to the engine, one at a time, as JPEG to a kernel; boxes, bars and a timeline come back.

const WIDE = 640; // pixels of a frame that travel
const STALE = 80; // milliseconds: where answers take longer, the frame that was read is shown under its boxes
const FAR = 40; // milliseconds: where the quickest answer takes longer, two frames are under way at a time instead of one
const PATIENCE = 4000; // milliseconds without an answer: the connection counts as lost
const SPAN = 30; // seconds of the timeline
const DASHES = [[], [7, 3], [2, 3], [10, 3, 2, 3], [4, 4], [12, 4], [1, 4]];

const TROUBLE = {
  insecure: "The camera works only over HTTPS or on http://localhost: open this page at such an address.",
  unsupported: "This browser gives web pages no access to a camera: try a current Chrome, Edge, Firefox or Safari.",
  NotAllowedError: "Access to the camera was denied: allow it with the icon beside the address, then press Start.",
  NotFoundError: "No camera was found: plug one in, then press Start.",
  NotReadableError: "The camera is busy or does not answer: close the other program that uses it, then press Start.",
  OverconstrainedError: "That camera is no longer there: choose another, then press Start.",
  ended: "The camera was unplugged or taken by another program: press Start to try again.",
  hidden: "The camera was turned off while the page was hidden: press Start to continue.",
};

const NOBODY = "No face in view: come closer, face the camera, and check the light.";

/** The last SPAN seconds of one face: a line an emotion, each with its own dashes and its name at the end. */
class Timeline {
  constructor() {
    this.rows = [];
    this.canvas = h("canvas.timeline", { role: "img", "aria-label": `Shares of people in the last ${SPAN} seconds` });
  }

  add(time, probabilities) {
    this.rows.push({ time, p: probabilities });
    while (this.rows.length && this.rows[0].time < time - SPAN) this.rows.shift();
  }

  draw(emotions, now) {
    const { canvas } = this, ratio = window.devicePixelRatio || 1;
    const w = canvas.clientWidth, high = canvas.clientHeight;
    if (!w || !high) return;
    if (canvas.width !== Math.round(w * ratio)) [canvas.width, canvas.height] = [w * ratio, high * ratio].map(Math.round);
    const pen = canvas.getContext("2d"), style = getComputedStyle(canvas);
    const left = 34, right = 66, top = 8, bottom = 20;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, w, high);
    pen.font = `12px ${style.fontFamily}`;
    const x = (t) => left + (w - left - right) * (1 - (now - t) / SPAN), y = (p) => top + (high - top - bottom) * (1 - p);
    pen.fillStyle = style.color;
    pen.strokeStyle = style.borderTopColor;
    pen.lineWidth = 1;
    pen.setLineDash([]);
    for (const p of [0, 0.5, 1]) {
      pen.beginPath(); pen.moveTo(left, y(p)); pen.lineTo(w - right, y(p)); pen.stroke();
      pen.textAlign = "right"; pen.textBaseline = "middle"; pen.fillText(`${100 * p}`, left - 6, y(p));
    }
    pen.textBaseline = "top";
    for (const s of [30, 20, 10, 0]) { pen.textAlign = "center"; pen.fillText(s ? `\u2212${s} s` : "now", x(now - s), high - bottom + 5); }
    emotions.forEach(({ colour }, i) => {
      pen.strokeStyle = colour; pen.lineWidth = 2; pen.setLineDash(DASHES[i % DASHES.length]); pen.beginPath();
      let before = -Infinity;
      for (const { time, p } of this.rows) { pen[time - before > 1 ? "moveTo" : "lineTo"](x(time), y(p[i])); before = time; }
      pen.stroke();
    });
    this.name(pen, emotions, w - right + 6, y, top, high - bottom);
  }

  /** The names of the likeliest emotions at the end of their lines, moved apart where they would overlap. */
  name(pen, emotions, x, y, top, bottom) {
    const last = this.rows.at(-1)?.p;
    if (!last) return;
    const shown = emotions.map((o, i) => ({ ...o, at: y(last[i]), p: last[i] })).filter((o) => o.p > 0.1).sort((a, b) => a.at - b.at);
    let free = top;
    pen.textAlign = "left"; pen.textBaseline = "middle";
    for (const o of shown) {
      const at = Math.min(Math.max(o.at, free + 6), bottom);
      pen.fillStyle = o.colour; pen.fillRect(x, at - 4, 4, 8);
      pen.fillStyle = getComputedStyle(this.canvas).color; pen.fillText(o.label, x + 8, at);
      free = at + 7;
    }
  }
}

/** Boxes and labels on a canvas over the video, which has the size `w` x `high`; mirrored with it, the letters stay readable. */
function drawFaces(pen, emotions, reply, w, high, mirrored) {
  const scale = w / reply.width, size = Math.max(13, Math.round(w / 38));
  pen.font = `600 ${size}px system-ui, sans-serif`;
  pen.textBaseline = "middle"; pen.textAlign = "left";
  for (const face of reply.faces) {
    const colours = wordsOf(face).map((o) => colourOf(emotions, o)), words = spoken(face, face.track);
    let [x, y, bw, bh] = face.box.map((v) => v * scale);
    if (mirrored) x = w - x - bw;
    const turn = ((mirrored ? -1 : 1) * turnOf(face) * Math.PI) / 180;
    pen.save();
    pen.translate(x + bw / 2, y + bh / 2); pen.rotate(turn); pen.translate(-x - bw / 2, -y - bh / 2);
    pen.beginPath(); pen.roundRect(x, y, bw, bh, 0.08 * bw);
    pen.lineWidth = size / 2.6; pen.strokeStyle = "rgba(20,25,31,.55)"; pen.stroke();
    const ink = pen.createLinearGradient(x, 0, x + bw, 0); // in both colours where people would be divided
    ink.addColorStop(0.5, colours[0]); ink.addColorStop(0.5, colours.at(-1));
    pen.lineWidth = size / 4.5; pen.strokeStyle = ink; pen.stroke();
    pen.restore();
    const [c, s] = [Math.abs(Math.cos(turn)), Math.abs(Math.sin(turn))], tilted = s * bw + c * bh;
    x += (bw - c * bw - s * bh) / 2; y += (bh - tilted) / 2; bh = tilted; // the words stand beside the turned box
    const ends = [];
    for (const word of words) ends.push((ends.at(-1) ?? 0) + pen.measureText(word).width + size);
    const wide = ends.at(-1), tall = 1.5 * size;
    const tx = Math.min(Math.max(0, x), w - wide), ty = y - tall - 3 < 0 ? Math.min(y + bh + 3, high - tall) : y - tall - 3;
    words.forEach((word, i) => {
      const left = tx + (ends[i - 1] ?? 0), r = size / 3, first = i ? 0 : r, last = i < words.length - 1 ? 0 : r;
      pen.beginPath(); pen.roundRect(left, ty, tx + ends[i] - left, tall, [first, last, last, first]);
      pen.fillStyle = colours[i]; pen.fill();
      pen.fillStyle = inkOn(colours[i]); pen.fillText(word, left + size / 2, ty + tall / 2 + 1);
    });
  }
}

/** A running mean over the last two seconds of frames a second and of round trips. */
class Meter {
  constructor() { this.rows = []; }
  add(now, trip) { this.rows.push({ now, trip }); while (this.rows[0].now < now - 2000) this.rows.shift(); }
  get fps() { const n = this.rows.length; return n < 2 ? 0 : (1000 * (n - 1)) / (this.rows[n - 1].now - this.rows[0].now); }
  get least() { return this.rows.length ? Math.min(...this.rows.map((o) => o.trip)) : 0; }
  get trip() { const t = this.rows.map((o) => o.trip).sort((a, b) => a - b); return t[t.length >> 1] ?? 0; }
}

function cameraView({ model, el, signal }) {
  const emotions = () => model.get("emotions");
  const reader = new Reader(model, signal), ask = (...message) => reader.ask(...message);
  const video = h("video", { playsinline: true, muted: true, "aria-label": "The camera's picture" });
  video.muted = true;
  const layer = h("canvas.layer", { "aria-hidden": "true" }), seen = h("canvas.seen", { "aria-hidden": "true", hidden: true });
  const message = h("p.message", { role: "alert", hidden: true });
  const kept = h("p.fine"), means = h("p.fine.means"), where = h("select", { "aria-label": "Where frames are read", onchange: () => move(where.value) });
  const rest = h("div.rest", {}, icon("photo"), h("p", {}, "Press Start to see faces read as you move."), kept);
  const stage = h("div.stage", {}, video, seen, layer, rest);
  const toggle = h("button.primary", { onclick: () => (run ? stop() : start()) }, "Start");
  const choice = h("select", { "aria-label": "Camera", hidden: true, onchange: () => { if (run) start(); } });
  const mirror = h("input", { type: "checkbox", checked: true, onchange: () => stage.classList.toggle("mirrored", mirror.checked) });
  const snap = h("button", { disabled: true, onclick: snapshot }, "Snapshot");
  const figures = h("p.figures", {}, "");
  const panels = h("div.faces.live"), timeline = new Timeline(), who = h("h3", {}, "The last 30 seconds");
  const IDLE = "Each face in view appears here, with its number, ten people and a bar for each emotion.";
  const nobody = h("p.empty", {}, IDLE);
  const shown = new Map(); // track -> {el, chart, chip}
  let run = null, chosen = null, meter, reply = null;
  el.ferNbTrips = []; // the last round trips in milliseconds, for measuring (nbs/tutorials/bench_app.py)

  /** Shows where frames are read, and what that means. */
  function tell() {
    kept.textContent = `Frames stay on ${reader.words.here} and are not kept.`;
    where.replaceChildren(...["device", "kernel"].map((o) => h("option", { value: o, selected: o === reader.place }, PLACES[o].name)));
    where.hidden = !reader.able;
    means.textContent = reader.able ? reader.words.means : reader.only && `${PLACES.kernel.means} ${reader.only}`;
    means.hidden = !means.textContent;
    el.dataset.place = reader.place;
  }

  function move(place) {
    const on = Boolean(run);
    stop();
    reader.place = place;
    tell();
    if (on) start();
  }

  stage.classList.add("mirrored");
  const say = (text) => { message.textContent = text ?? ""; message.hidden = !text; };

  async function listCameras() {
    const cameras = (await navigator.mediaDevices.enumerateDevices()).filter((o) => o.kind === "videoinput");
    const current = run?.stream.getVideoTracks()[0]?.getSettings().deviceId ?? choice.value;
    choice.replaceChildren(...cameras.map((o, i) => h("option", { value: o.deviceId, selected: o.deviceId === current }, o.label || `Camera ${i + 1}`)));
    choice.hidden = cameras.length < 2;
  }

  async function open() {
    if (!navigator.mediaDevices?.getUserMedia) throw Object.assign(new Error(), { name: window.isSecureContext ? "unsupported" : "insecure" });
    const size = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } };
    const device = choice.value ? { deviceId: { exact: choice.value } } : { facingMode: "user" };
    return navigator.mediaDevices.getUserMedia({ video: { ...size, ...device }, audio: false });
  }

  async function start() {
    stop();
    const mine = (run = { stream: null, pending: 0, answered: performance.now(), begun: performance.now() });
    toggle.textContent = "Stop";
    say(null);
    try {
      mine.stream = await open();
      if (run !== mine || signal?.aborted) return close(mine);
      mine.stream.getVideoTracks()[0].addEventListener("ended", () => { if (run === mine) { stop(); say(TROUBLE.ended); } });
      video.srcObject = mine.stream;
      await video.play();
      if (run !== mine) return;
      meter = new Meter();
      timeline.rows = [];
      rest.hidden = true;
      snap.disabled = false;
      stage.classList.add("on");
      el.dataset.camera = "on";
      await listCameras();
      await reader.open().catch((error) => { tell(); throw error; });
      if (run !== mine) return;
      mine.answered = performance.now();
      await ask({ kind: "reset" }, [], PATIENCE).catch(() => {});
      next(mine);
      mine.timer = setInterval(() => watch(mine), 250);
    } catch (error) {
      if (run !== mine) return;
      stop();
      say(TROUBLE[error.name] ?? `The camera could not be started: ${error.message || error.name}.`);
    }
  }

  function close(one) {
    one.stream?.getTracks().forEach((o) => o.stop());
    one.frame?.data?.close?.();
    clearInterval(one.timer);
  }

  function stop() {
    if (!run) return;
    close(run);
    run = null;
    video.srcObject = null;
    reply = null;
    layer.getContext("2d").clearRect(0, 0, layer.width, layer.height);
    seen.hidden = true;
    shown.forEach((o) => o.el.remove());
    shown.clear();
    toggle.textContent = "Start";
    figures.textContent = "";
    snap.disabled = true;
    nobody.textContent = IDLE;
    nobody.hidden = false;
    rest.hidden = false;
    stage.classList.remove("on");
    el.dataset.camera = "off";
  }

  function next(mine) {
    if (run !== mine) return;
    const go = () => { if (run === mine) { mine.fresh = true; grab(mine); next(mine); } };
    if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(go);
    else requestAnimationFrame(go);
  }

  const canvas = h("canvas"), brush = canvas.getContext("2d", { willReadFrequently: true });

  /** The video's picture as it is now, for an engine in this page; drawn on `canvas` for one elsewhere. */
  function drawn(w, high) {
    if (reader.place === "device") return window.VideoFrame ? new VideoFrame(video) : createImageBitmap(video, { resizeWidth: w, resizeHeight: high });
    if (canvas.width !== w || canvas.height !== high) [canvas.width, canvas.height] = [w, high];
    brush.drawImage(video, 0, 0, w, high);
    return canvas;
  }

  /** The bytes of what is sent, or null. Drawing pictures on a canvas keeps them in memory; putting bytes on it does not. */
  async function pixels(picture) {
    if (picture === canvas) return brush.getImageData(0, 0, canvas.width, canvas.height);
    const plain = { format: "RGBA" };
    try {
      const bytes = new Uint8ClampedArray(picture.allocationSize(plain));
      await picture.copyTo(bytes, plain);
      return new ImageData(bytes, picture.displayWidth);
    } catch { return null; } // this browser cannot
  }

  async function packed(picture) {
    if (picture !== canvas) return picture;
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.7));
    return blob && new DataView(await blob.arrayBuffer());
  }

  /** The next frame is made ready while the one before is under way. */
  async function grab(mine) {
    if (!mine.fresh || mine.frame || !video.videoWidth) return;
    const scale = Math.min(1, WIDE / video.videoWidth);
    const frame = { time: (performance.now() - mine.begun) / 1000 };
    Object.assign(mine, { fresh: false, frame });
    try {
      const picture = await drawn(...[video.videoWidth, video.videoHeight].map((v) => Math.round(v * scale)));
      if (meter.trip > STALE) frame.still = await pixels(picture);
      frame.data = await packed(picture);
    } catch {} // the video has just ended
    if (frame.data) send(mine);
    else mine.frame = null;
    if (run !== mine) frame.data?.close?.(); // the camera wants its memory back
  }

  async function send(mine) {
    const { frame } = mine;
    if (run !== mine || !frame?.data || mine.pending >= (meter.least > FAR ? 2 : 1)) return;
    mine.frame = null;
    mine.pending++;
    grab(mine);
    const sent = performance.now();
    try {
      const answer = await ask({ kind: "frame", time: frame.time, most: WIDE }, [frame.data], PATIENCE);
      if (run !== mine) return;
      mine.answered = performance.now();
      meter.add(mine.answered, mine.answered - sent);
      el.ferNbTrips.push(mine.answered - sent);
      if (el.ferNbTrips.length > 1e4) el.ferNbTrips.shift();
      show(answer, frame.time, frame.still);
      say(null);
    } catch (error) {
      if (run !== mine) return;
      if (!(error instanceof Lost)) mine.answered = performance.now();
      say(error instanceof Lost ? reader.words.lost : error.message);
    } finally {
      mine.pending--;
      if (run === mine) {
        send(mine);
        grab(mine);
      }
    }
  }

  /** Four times a second: figures, timeline, and whether answers still come. */
  function watch(mine) {
    const now = performance.now();
    if (now - mine.answered > PATIENCE) say(reader.words.lost);
    else figures.textContent = `${meter.fps.toFixed(0)} frames a second \u00b7 ${meter.trip.toFixed(0)} ms round trip`;
    Object.assign(el.dataset, { fps: meter.fps.toFixed(1), trip: meter.trip.toFixed(1), frames: mine.frames ?? 0 });
    timeline.draw(emotions(), (now - mine.begun) / 1000);
  }

  function show(answer, time, still) {
    reply = answer;
    run.frames = (run.frames ?? 0) + 1;
    const ratio = window.devicePixelRatio || 1, w = layer.clientWidth, high = layer.clientHeight, pen = layer.getContext("2d");
    const [pw, ph] = [w * ratio, high * ratio].map(Math.round);
    if (layer.width !== pw || layer.height !== ph) [layer.width, layer.height] = [pw, ph];
    const fit = Math.min(w / answer.width, high / answer.height) * ratio; // as object-fit: contain places the video
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, pw, ph);
    pen.setTransform(fit, 0, 0, fit, (pw - answer.width * fit) / 2, (ph - answer.height * fit) / 2);
    seen.hidden = !still;
    if (still) {
      if (seen.width !== still.width || seen.height !== still.height) [seen.width, seen.height] = [still.width, still.height];
      seen.getContext("2d", { willReadFrequently: true }).putImageData(still, 0, 0);
    }
    drawFaces(pen, emotions(), answer, answer.width, answer.height, mirror.checked);
    nobody.hidden = answer.faces.length > 0;
    nobody.textContent = NOBODY;
    const there = new Set(answer.faces.map((o) => o.track));
    shown.forEach((o, track) => { if (!there.has(track)) { o.el.remove(); shown.delete(track); } });
    if (!there.has(chosen)) chosen = answer.faces[0]?.track ?? chosen;
    for (const face of answer.faces) panel(face);
    const followed = answer.faces.find((o) => o.track === chosen);
    if (followed) timeline.add(time, Object.values(followed.probabilities));
    who.textContent = `The last ${SPAN} seconds` + (followed && answer.faces.length > 1 ? ` of face ${chosen}` : "");
  }

  function panel(face) {
    let one = shown.get(face.track);
    if (!one) {
      const chart = bars(emotions()), ten = people(emotions()), head = h("div.head");
      const follow = () => { if (chosen !== face.track) { chosen = face.track; timeline.rows = []; } };
      const parts = [head, ten, chart];
      one = { chart, ten, head, el: h("button.face", { onclick: follow, title: "Show this face in the timeline", "data-track": face.track }, parts) };
      shown.set(face.track, one);
      panels.append(one.el);
    }
    one.head.replaceChildren(chip(emotions(), face, face.track));
    one.ten.set(face);
    one.chart.set(Object.values(face.probabilities));
    one.el.classList.toggle("chosen", face.track === chosen && shown.size > 1);
  }

  async function snapshot() {
    const out = h("canvas"), pen = out.getContext("2d");
    [out.width, out.height] = [video.videoWidth, video.videoHeight];
    if (mirror.checked) { pen.translate(out.width, 0); pen.scale(-1, 1); }
    pen.drawImage(video, 0, 0);
    pen.setTransform(1, 0, 0, 1, 0, 0);
    if (reply) drawFaces(pen, emotions(), reply, out.width, out.height, mirror.checked);
    const stamp = new Date().toISOString().slice(0, 19).replaceAll(":", "-");
    out.toBlob((blob) => download(`fer_nb_${stamp}.png`, blob));
  }

  const on = (target, event, handler) => target?.addEventListener(event, handler, { signal });
  const leave = () => { if (run) { stop(); say(TROUBLE.hidden); } };
  on(document, "visibilitychange", () => { if (document.hidden) leave(); });
  on(window, "pagehide", leave);
  on(el, "fer-nb-leave", () => { if (run) stop(); });
  on(navigator.mediaDevices, "devicechange", () => listCameras().catch(() => {}));
  model.on("change:model", () => {
    timeline.rows = [];
    shown.forEach((o) => o.el.remove());
    shown.clear();
    if (!reader.told) return;
    if (reader.place === "device" && !reader.able) {
      stop(); // no frame goes elsewhere unasked
      reader.place = "kernel";
      say(`${reader.only.slice(0, -1)}: press Start to send frames there.`);
    } else if (run) reader.open().catch((error) => { stop(); tell(); say(error.message); });
    tell();
  });

  const history = h("section.card.history", {}, who, timeline.canvas);
  el.append(h("div.fer-nb-camera", {},
    h("div.split", {}, h("div.left", {}, stage, message,
      h("div.row.controls", {}, toggle, snap, choice, where, h("label", {}, mirror, " Mirror"), figures), means), h("div.side", {}, nobody, panels)),
    history));
  tell();
  if (!navigator.mediaDevices?.getUserMedia) say(TROUBLE[window.isSecureContext ? "unsupported" : "insecure"]);
  return stop;
}
