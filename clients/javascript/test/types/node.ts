import openMetrics, { Metronome, OpenMetrics, type Receipt } from "metronome-events";

const client = new Metronome("https://ticks.example.org", {
  key: "mt_live_4f1c0a9be27d_x",
  common: { app: "shop" },
  onRefused: (events, status, receipt: Receipt) => console.error(events[0]?.insert_id, status, receipt.rejected),
});
client.set({ distinct_id: "ann", plan: undefined });
const id: string = client.tick({ id: "home", load_ms: 312, nested: { list: [1, "two", null] } });
const left: Promise<number> = client.close();

openMetrics("https://ticks.example.org").logEvent({ userId: "ann" }, "login", { page: "/" }, { active: false });
new OpenMetrics("https://ticks.example.org").logEvent({ sessionId: "s" }, "login", (failed, body) => failed ?? body);

// @ts-expect-error: an event needs somebody who did it
openMetrics("https://ticks.example.org").logEvent({}, "login");
// @ts-expect-error: a function is no property
client.tick({ id: () => "home" });

export { id, left };
