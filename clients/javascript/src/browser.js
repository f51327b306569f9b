/** The package in a bundle for browsers: `import { Metronome, OpenMetrics } from "metronome-events"`. */

export { Metronome } from "./metronome.js";
export { OpenMetrics, OpenMetrics as default } from "./openmetrics-browser.js";
