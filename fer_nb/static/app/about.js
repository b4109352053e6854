// How it works, what the chosen model can and cannot do, and what it must not be used for.

const STEPS = [
  ["Find", "A face detector searches the whole picture, then parts of it, for faces seen from the front."],
  ["Crop", "Each face is cropped as tightly as the pictures the network learned from, and resized to 48 by 48 grey pixels."],
  ["Read", "A small convolutional network estimates the share of people who would choose each emotion for this face. The estimate is calibrated: where it is 70% sure, it is right about 70% of the time."],
  ["Count", "The shares are rounded to ten people. The answer is what most of them would say, or uncertain where the network does not know. A face that cannot be read gets the reason instead: too small, too dark, blurred, turned away, covered, or no face."],
];
const MIXED = "The shares are rounded to ten people. The answer is what most of them would say; two emotions where they would be divided; or uncertain where the network does not know. A face that cannot be read gets the reason instead: too small, too dark, blurred, turned away, covered, or no face.";

const NOT = [
  "It predicts what people would say about a face, not what the person feels. An expression is not an inner state: people smile in fear and frown in thought.",
  "Do not use it to judge people. The European Union's AI Act (Article 5) forbids inferring emotions from faces at work and in schools, except for medical or safety reasons.",
  "It learned from pictures that were found on the web and labelled by strangers, who agreed with each other on about two faces in three. It does worse on rare expressions, in unusual light, on covered faces, and on people who are rare in those pictures.",
  "Recognition is off by default: it names only people who were enrolled with their consent, and infers nothing but the enrolled name. What is stored about a face is biometric data (GDPR, Article 9). The AI Act (Article 5) also forbids building face databases by scraping, and biometric categorisation that infers race, beliefs or sexual orientation. Names given on this page are gone when it is closed. It is not a lock: a photo held up to the camera passes.",
];

function classTable(card) {
  const { per_class: rows } = card.evaluation;
  const head = ["emotion", "recall", "precision", "F1", "faces"].map((o) => h("th", { scope: "col" }, o));
  const body = Object.entries(rows).map(([label, o]) =>
    h("tr", {}, h("th", { scope: "row" }, label), [percent(o.recall), percent(o.precision), percent(o.f1), o.support].map((v) => h("td", {}, String(v)))));
  return h("div.scroll", {}, h("table.numbers", {}, h("caption", {}, "By emotion"), h("thead", {}, h("tr", {}, head)), h("tbody", {}, body)));
}

/** Rows are what people said, columns what the network says, in percent of the row. */
function confusion(card) {
  const { labels, evaluation } = card;
  const head = h("tr", {}, h("td"), labels.map((o) => h("th", { scope: "col" }, h("span", {}, o))));
  const body = evaluation.confusion.map((row, i) => {
    const sum = row.reduce((a, b) => a + b, 0) || 1;
    const cells = row.map((n, j) => {
      const p = n / sum;
      return h(`td${i === j ? ".right" : ""}`, { style: `--share:${p}`, title: `${labels[i]} read as ${labels[j]}: ${n} of ${sum}` }, (100 * p).toFixed(0));
    });
    return h("tr", {}, h("th", { scope: "row" }, labels[i]), cells);
  });
  return h("div.scroll", {}, h("table.confusion", {}, h("caption", {}, "Confusion matrix: rows are what people said, columns what the network says, in percent of the row"),
    h("thead", {}, head), h("tbody", {}, body)));
}

const RULERS = { votes: "the majority of the votes", votes8: "the majority of the votes, contempt as an eighth emotion", label: "the dataset's own labels" };

/** "63.1% (95%: 62.0 to 64.2)" */
function within(value, interval) {
  const range = interval ? ` (95%: ${interval.map((o) => (100 * o).toFixed(1)).join(" to ")})` : "";
  return `${percent(value, 1)}${range}`;
}

/** Accuracy by each ruler that the card has, and the distance to the votes; older cards have one ruler and do not name it. */
function accuracies(card) {
  const e = card.evaluation, others = Object.entries(card.rulers ?? {}).filter(([, o]) => o?.accuracy !== undefined);
  const own = [e.ruler ?? "label", e], all = [own, ...others.filter(([name]) => name !== own[0])];
  const rows = all.map(([name, o]) => [all.length > 1 || e.ruler ? `accuracy by ${RULERS[name] ?? name}` : "accuracy", within(o.accuracy, o.accuracy_ci)]);
  const votes = all.find(([, o]) => o.distance !== undefined)?.[1];
  if (votes) rows.push(["distance from the votes", `${within(votes.distance, votes.distance_ci)} of the people would have to change their answer`]);
  return rows;
}

function figures(card) {
  const e = card.evaluation, ms = card.milliseconds;
  const copies = e.without_duplicates ? `; ${percent(e.without_duplicates.accuracy, 1)} without those that are also in its training set` : "";
  return [
    ...accuracies(card),
    ["measured on", `${(e.n ?? 0).toLocaleString("en")} faces of the ${e.split} split, which was also used to choose among training runs${copies}`],
    ["macro F1", percent(e.macro_f1, 1)],
    ["calibration error", e.calibration_error_scaled === undefined ? "not measured" : percent(e.calibration_error_scaled, 1)],
    ["time for one face", ms === null ? "not measured" : `${ms.toFixed(2)} ms on one core`],
    ["size", `${card.parameters.toLocaleString("en")} parameters, ${Math.round(card.file.bytes / 1000).toLocaleString("en")} kB, ${card.precision}`],
    ["trained by", h("code", {}, card.command)],
  ];
}

function aboutView({ model, el, signal }) {
  const root = h("div.fer-nb-about");
  const draw = () => {
    const card = model.get("card");
    const known = card.evaluation?.accuracy !== undefined && card.evaluation?.per_class;
    const told = STEPS.map(([name, text]) => [name, name === "Count" && card.answers ? MIXED : text]);
    const steps = told.map(([name, text], i) => h("li.card", {}, h("span.number", {}, String(i + 1)), h("h3", {}, name), h("p", {}, text)));
    root.replaceChildren(
      h("section", {}, h("h2", {}, "How it works"), h("ol.steps", {}, steps)),
      h("section", {}, h("h2", {}, "What it must not be used for"), h("ul.plain", {}, NOT.map((o) => h("li", {}, o)))),
      h("section", {}, h("h2", {}, "Your pictures"), h("p", {}, placeOf(model).privacy)),
      h("section", {}, h("h2", {}, `The model ${card.name}`), h("p", {}, card.description),
        known ? h("dl", {}, figures(card).flatMap(([k, v]) => [h("dt", {}, k), h("dd", {}, v)])) : null,
        known ? h("div.tables", {}, classTable(card), confusion(card)) : null));
  };
  draw();
  model.on("change:card", draw);
  el.append(root);
}
