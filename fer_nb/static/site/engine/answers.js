// From shares of people to an answer, and ten people in whole numbers and words; as fer_nb.inference.answers.

const sum = (values) => values.reduce((a, b) => a + b, 0);

/** float32 shares of people from a network's logits. */
export function softmax(logits, temperature) {
  const z = Array.from(logits, (o) => o / temperature), top = Math.max(...z), e = z.map((o) => Math.exp(o - top)), whole = sum(e);
  return e.map((o) => Math.fround(o / whole));
}

/** {kind: "label", "mixed" or "uncertain", sure, order}: what the rule says of a face. */
export function verdict(shares, { threshold, pair, power }) {
  const order = shares.map((_, i) => i).sort((a, b) => shares[b] - shares[a]), top = shares[order[0]];
  const sure = power === 1 ? top : 1 / sum(shares.map((o) => (o / top) ** power));
  const divided = shares[order[0]] + shares[order[1]] >= pair;
  return { kind: sure >= threshold ? "label" : divided ? "mixed" : "uncertain", sure, order };
}

/** Ten people, shared out by the largest remainder. */
export function peopleOf(shares, order, people) {
  const scale = (1e5 * people) / sum(shares), parts = shares.map((o) => Math.floor(o * scale + 0.5)); // equal fractions stay equal
  const whole = parts.map((o) => Math.floor(o / 1e5)), left = people - sum(whole);
  [...order].sort((a, b) => (parts[b] % 1e5) - (parts[a] % 1e5)).slice(0, left).forEach((i) => whole[i]++);
  return whole;
}

const WORDS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];

/** "of ten people, seven would say happy, two neutral, one surprise" */
export function sentence(people) {
  const [[label, n], ...rest] = Object.entries(people).filter(([, o]) => o);
  return `of ten people, ${rest.length ? WORDS[n] : "all ten"} would say ${label}${rest.map(([o, k]) => `, ${WORDS[k]} ${o}`).join("")}`;
}
