/** The package in Node: `import openMetrics, { Metronome, OpenMetrics } from "metronome-events"`. */

import { Metronome as Client } from "./metronome.js";
import { OpenMetrics } from "./openmetrics-node.js";

/** As in pages, with a longer queue and larger batches. What waits when the program ends is sent then. */
export class Metronome extends Client {
  #atExit = () => this.flush();

  constructor(url, options) {
    super(url, { queue: 10_000, batch: 100, ...options });
    process.on("beforeExit", this.#atExit);
  }

  async close() {
    process.off("beforeExit", this.#atExit);
    return super.close();
  }
}

export { OpenMetrics };

/** The original's form: `require("metronome-events")(url)`. */
export const openMetrics = (url, options) => new OpenMetrics(url, options);

export default openMetrics;
