import OpenMetrics, { Metronome } from "metronome-events";

new Metronome("https://ticks.example.org", { storage: null }).track("signup", { plan: "free" });
new OpenMetrics("https://ticks.example.org").logEvent("login", { page: "/" }, (failed, body) => failed ?? body);
window._om?.push(["event", "login", { page: "/" }], ["clearSession"]);
