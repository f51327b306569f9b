/** Ids that are made without asking anybody. */

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

const random = (size) => crypto.getRandomValues(new Uint8Array(size));

/** A UUIDv7 (RFC 9562): it sorts by time to the millisecond, and the gateway reads the event's day from it. */
export function uuid7(now = Date.now()) {
  const bytes = random(16);
  for (let at = 0; at < 6; at++) bytes[at] = Math.floor(now / 2 ** (40 - 8 * at));
  bytes[6] = (bytes[6] & 0x0f) | 0x70;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** Ten random characters of [A-Za-z0-9]. */
export function sessionId() {
  let id = "";
  while (id.length < 10) {
    // Bytes from 248 on are thrown away: 248 is a multiple of 62, so that each character is equally likely.
    const [byte] = random(1);
    if (byte < 248) id += LETTERS[byte % 62];
  }
  return id;
}
