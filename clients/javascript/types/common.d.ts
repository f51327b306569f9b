/** What a property may be: the gateway flattens objects with dots. */
export type Value = string | number | boolean | null | undefined | Value[] | { [name: string]: Value };

/** Properties of an event. docs/http.md of the gateway names those that mean something. */
export interface Properties {
  /** The item that the event is about. */
  id?: string;
  /** What happened; `view` if nothing says otherwise. */
  event?: string;
  app?: string;
  distinct_id?: string;
  session_id?: string;
  /** Two events of one `insert_id` (and `app`) are one. Default: a new UUIDv7. */
  insert_id?: string;
  [name: string]: Value;
}

/** What the gateway answered to a batch. */
export interface Receipt {
  accepted?: number;
  duplicate?: number;
  quarantined?: number;
  rejected?: { index: number; id: string | null; field: string | null; reason: string }[];
  rejected_total?: number;
  error?: { status: number; code: string; message: string; field?: string };
}

export interface MetronomeOptions {
  /** A key with the scope `write`; in pages a publishable one. */
  key?: string;
  /** Properties of every event. */
  common?: Properties;
  /** Send at once when so many events wait. Default: 10, in Node 100. */
  batch?: number;
  /** Send so long after the first event, in ms. Default: 5,000. */
  interval?: number;
  /** How many events may wait; beyond that the oldest go. Default: 100, in Node 10,000. */
  queue?: number;
  /** How long a request may take, in ms; at most 40,000. Default: 30,000. */
  timeout?: number;
  /** Where events wait. Default: localStorage in pages, else memory; `null` is memory. */
  storage?: Pick<Storage, "getItem" | "setItem" | "removeItem"> | null;
  /** Told of events that were refused for good. Default: a warning on the console. */
  onRefused?: (events: Properties[], status: number, receipt: Receipt) => void;
}

/** The client for `/tick`. */
export declare class Metronome {
  /** `url` is the gateway's address, such as `https://ticks.example.org`. */
  constructor(url: string | URL, options?: MetronomeOptions);
  /** Properties of every event from now on; `undefined` takes one away. */
  set(properties: Properties): void;
  /** Send an event; gives its `insert_id`. */
  tick(properties: Properties): string;
  /** Send an event of this name; gives its `insert_id`. */
  track(event: string, properties?: Properties): string;
  /** Send a view; in pages `id`, `url` and `referer` are those of the page. Gives its `insert_id`. */
  view(properties?: Properties): string;
  /** Send all that waits, unless the gateway asked to wait; gives how many events still wait afterwards. */
  flush(): Promise<number>;
  /** Flush, then stop; gives how many events still wait. */
  close(): Promise<number>;
}

/** `(null, body)` after status 200, `(true)` after anything else. */
export type Callback = (failed: true | null, body?: string) => void;

export interface OpenMetricsOptions {
  /** A key with the scope `write`; in pages a publishable one. */
  key?: string;
}
