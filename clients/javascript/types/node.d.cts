import type * as all from "./node.js" with { "resolution-mode": "import" };

/** What `require` gives: a function, with everything else as its properties. */
declare const exported: typeof all.openMetrics & Pick<typeof all, "Metronome" | "OpenMetrics" | "openMetrics">;

export = exported;
