/** The detector's numbers, as Python wrote them: `DETECTORS['blazeface']`, `SEARCH`, `UPRIGHT`, `SMALLEST` and the defaults of `merge`. */
export const numbers = {};
