/** The package for `require`: a function, with everything else as its properties. */

import { Metronome, OpenMetrics, openMetrics } from "./node.js";

export default Object.assign(openMetrics, { Metronome, OpenMetrics, openMetrics });
