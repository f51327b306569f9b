import type { Callback, OpenMetricsOptions, Value } from "./common.js";

export * from "./common.js";

/** Who did it. */
export type Who = { sessionId: string; userId?: string } | { userId: string; sessionId?: undefined };

export interface CallOptions {
  /** `false`: the user isn't active by this. */
  active?: boolean;
}

type Props = Record<string, Value>;

/** The client of Node programs for `/v1`. */
export declare class OpenMetrics {
  constructor(url: string | URL, options?: OpenMetricsOptions);
  logEvent(who: Who, name: string, done?: Callback): void;
  logEvent(who: Who, name: string, props: Props | undefined, done?: Callback): void;
  logEvent(who: Who, name: string, props: Props | undefined, options: CallOptions | undefined, done?: Callback): void;
  setUserId(sessionId: string, userId: string, done?: Callback): void;
  setUserId(sessionId: string, userId: string, options: CallOptions | undefined, done?: Callback): void;
  setUserProperties(who: Who, props: Props, done?: Callback): void;
  setUserProperties(who: Who, props: Props, options: CallOptions | undefined, done?: Callback): void;
  destroy(): void;
}

export declare const openMetrics: (url: string | URL, options?: OpenMetricsOptions) => OpenMetrics;

export default openMetrics;
