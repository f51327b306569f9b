import type { Callback, OpenMetricsOptions, Value } from "./common.js";

export * from "./common.js";

/** The client of pages for `/v1`. */
export declare class OpenMetrics {
  constructor(url: string | URL, options?: OpenMetricsOptions);
  readonly sessionId: string;
  logEvent(name: string, done?: Callback): void;
  logEvent(name: string, props: Record<string, Value> | undefined, done?: Callback): void;
  setUserId(id: string, done?: Callback): void;
  setUserProperties(props: Record<string, Value>, done?: Callback): void;
  setSessionProperties(props: Record<string, Value>, done?: Callback): void;
  clearSession(): void;
  destroy(): void;
}

export default OpenMetrics;

/** A call in `window._om`. */
export type PreloadedCall =
  | ["event", string, Record<string, Value>?]
  | ["setUserId", string]
  | ["setUserProperties", Record<string, Value>]
  | ["setSessionProperties", Record<string, Value>]
  | ["clearSession"];

declare global {
  interface Window {
    /** With `_om`: the script starts `openMetrics` by itself. */
    openMetricUrl?: string;
    _om?: { push(...calls: PreloadedCall[]): unknown };
    openMetrics?: OpenMetrics;
  }
}
