// A picture in, its faces out, each with what people would say about it; as fer_nb.inference.recognize and video.track.
import { peopleOf, sentence, softmax, verdict } from "./answers.js";
import { cropFace, detectFaces } from "./detect.js";
import { picture, resize } from "./pixels.js";
import { qualityOf, reasonOf } from "./quality.js";
import { Tracker } from "./track.js";

const round = (v, digits) => Number(v.toFixed(digits));

/** The network's shares of one crop. */
const shares = async ({ net, temperature }, { data }) => softmax((await net(Float32Array.from(data)))[0], temperature);

/** The faces of an RGBA picture: detections with shares, quality and reason. `model` and `views` are {net, labels, size, temperature}. */
export async function readFaces({ detector, model, views, settings }, image, options) {
  const faces = [], none = views.labels.indexOf("none");
  for (const face of await detectFaces(detector, image, options)) {
    const crop = cropFace(image, face, settings.detector.framing, model.size);
    const seen = views.size === model.size ? crop : resize(crop, views.size, views.size, true);
    const quality = qualityOf(face, crop, await shares(views, seen));
    if (quality.views[none] > settings.limits.none) continue; // the detector was wrong
    faces.push({ ...face, shares: await shares(model, crop), quality, reason: reasonOf(quality, settings.limits, views.labels) });
  }
  return faces;
}

function qualityTold({ pixels, sharpness, light, turned, views }, names) {
  const seen = Object.fromEntries(names.map((o, i) => [o, round(views[i], 3)]));
  return { pixels: Math.round(pixels), sharpness: round(sharpness, 2), light: Math.round(light), turned: Number.isNaN(turned) ? null : round(turned, 2), views: seen };
}

/** A face as the page gets it, and as `Face.to_dict` tells it. */
export function told(face, { model, views, settings }) {
  const { labels, rule } = model, { kind, sure, order } = verdict(face.shares, rule), [first, second] = order, uncertain = kind === "uncertain" || face.reason !== "";
  const whole = peopleOf(face.shares, order, settings.people), people = Object.fromEntries(order.map((i) => [labels[i], whole[i]]));
  const mixed = kind === "mixed" && !uncertain, because = face.reason ? `uncertain: ${face.reason}` : "uncertain";
  return {
    ...(face.track === undefined ? {} : { track: face.track }),
    box: face.box.map((o) => round(o, 1)), roll: round(face.roll, 1), landmarks: face.points.map((p) => p.map((o) => round(o, 1))), score: round(face.score, 4),
    label: labels[first], confidence: round(sure, 4), agreement: round(face.shares[first], 4),
    answer: uncertain ? because : mixed ? `mixed: ${labels[first]}, ${labels[second]}` : labels[first],
    mixed, uncertain, reason: face.reason, people, quality: qualityTold(face.quality, views.labels),
    probabilities: Object.fromEntries(labels.map((o, i) => [o, round(face.shares[i], 4)])), sentence: sentence(people),
  };
}

/** Frames in, numbered faces out. */
export class Stream {
  constructor(settings) { this.settings = settings; this.tracker = new Tracker(settings); }

  async read(engine, frame, time) {
    const minFace = Math.max(this.settings.least, this.settings.part * Math.max(frame.width, frame.height));
    const faces = await readFaces(engine, frame, { minFace, known: time < this.tracker.last ? [] : this.tracker.expected(time) });
    return this.tracker.follow(faces, time);
  }
}

/** An ImageData as a picture. */
export const pictureOf = ({ data, width, height }) => picture(width, height, 4, data);
