/**
 * The package as a script of a page: `window.Metronome`, `window.OpenMetrics`.
 *
 * Where the page has `openMetricUrl` and the list of calls `_om`, the client starts as `window.openMetrics` and makes
 * these calls. Calls that the page pushes later are made at once.
 */

import { Metronome, OpenMetrics } from "./browser.js";

Object.assign(window, { Metronome, OpenMetrics });

const { openMetricUrl, _om } = window;

if (openMetricUrl && _om) {
  const client = (window.openMetrics = new OpenMetrics(openMetricUrl));
  const call = ([name, ...given]) => {
    if (name === "event") client.logEvent(...given);
    else if (["setUserId", "setUserProperties", "setSessionProperties", "clearSession"].includes(name)) {
      client[name](...given);
    } else console.warn("openMetrics: there is no call", name);
  };
  for (const given of _om) call(given);
  window._om = { push: (...calls) => calls.forEach(call) };
}
