/** What both OpenMetrics clients share: one request of `/v1`. They never send again; a callback tells of a failure. */

/** Addresses up to this length pass every proxy. What is longer is posted. */
const LONGEST = 2_000;

/**
 * Ask `/v1/<route>` with `data`. `done(null, body)` follows status 200, `done(true)` anything else.
 *
 * `q` is percent-encoded. The key comes before it, since a server takes all that follows `q=` as its value.
 */
export async function ask(url, route, data, { key, done, ...options }) {
  const query = key ? `?key=${encodeURIComponent(key)}&` : "?";
  const address = `${url.replace(/\/+$/, "")}/v1/${route}${query}`;
  let answer = [true];
  try {
    const q = JSON.stringify(data);
    const whole = `${address}q=${encodeURIComponent(q)}`;
    const posted = whole.length > LONGEST && { method: "POST", body: q };
    const response = await fetch(posted ? address.slice(0, -1) : whole, {
      ...options,
      ...posted,
      // Browsers bound the bodies of requests that outlive their page, and fail those beyond.
      keepalive: options.keepalive && q.length < 20_000,
      credentials: "omit",
      redirect: "error",
      cache: "no-store",
    });
    const body = await response.text();
    if (response.status === 200) answer = [null, body];
  } catch {
    // No answer came, or JSON can't hold the data: the callbacks hear of it as of any failure.
  }
  done?.(...answer);
}

/** An event as `/v1/events` takes it, a copy. Throws a TypeError where JSON can't hold it. */
export const eventOf = (name, props, options) => JSON.parse(JSON.stringify({ name, ts: Date.now(), props, options }));

/** One callback for several. */
export const all =
  (callbacks) =>
  (...answer) =>
    callbacks.forEach((done) => done?.(...answer));
